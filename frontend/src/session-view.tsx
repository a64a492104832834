/** One session: its conversation, the way to write, and what it is set to. */
import { useChat } from '@ai-sdk/react';
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import { asApiError } from './api/http';
import { forkSession, patchSession, planSession } from './api/routes';
import type { SessionData, SessionPatch } from './api/types';
import { type Message, changeBetween, textOf, toolsReturned, waitsForApproval } from './chat/messages';
import { type Outgoing, putOut, takeOut } from './chat/outbox';
import { SessionChat } from './chat/session-chat';
import { Composer, type ComposerHandle } from './composer/composer';
import { Conversation } from './conversation/conversation';
import { SessionContext } from './conversation/markdown';
import { Failure, type MessageActions } from './conversation/message';
import { CallEndsContext } from './conversation/tool-card';
import { Banner } from './banner';
import { EmptyState, Missing } from './empty-state';
import { SessionHeader } from './session-header';
import type { SessionList } from './sessions/list-store';
import { titleOf } from './sessions/rows';
import { concerns } from './settings/concerns';
import { useStatus } from './settings/hooks';
import { type Choice, Pickers } from './settings/pickers';
import { Boundary, PartFailed } from './ui/boundary';
import { IconButton } from './ui/button';
import { Icon } from './ui/icon';
import { isOfInputMethod } from './ui/keys';
import { toast } from './ui/toast';
import { WorkspacePanel } from './workspace/panel';

/** How often a growing answer is drawn: often enough to read along, seldom enough to stay smooth. */
const DRAWN_EVERY_MS = 50;

interface SessionViewProps {
  id: string;
  isNew: boolean;
  list: SessionList;
  open: (sessionId: string | null) => void;
  isSidebarOpen: boolean;
  openSidebar: () => void;
  filesAreOpen: boolean;
  setFilesOpen: (isOpen: boolean) => void;
}

export function SessionView({ id, isNew, list, open, isSidebarOpen, openSidebar, filesAreOpen, setFilesOpen }: SessionViewProps) {
  const session = useSession(id, isNew, list);
  const state = useSyncExternalStore(session.subscribe, session.snapshot);
  const { messages } = useChat<Message>({ chat: session.chat, throttle: DRAWN_EVERY_MS });
  const composer = useRef<ComposerHandle>(null);
  const { choice, change, plan, toCreate } = useChoice(state.data, session);
  const [isOver, setOver] = useState(false);
  const { isBusy, data, phase } = state;

  useEffect(() => {
    document.title = data ? `${titleOf(data)} – Greenroom` : 'Greenroom';
  }, [data]);
  useEffect(() => {
    if (isNew && phase === 'open') open(id); // The server has it: from now on it has an address.
  }, [isNew, phase, open, id]);
  useEffect(() => {
    const waiting = phase === 'open' && !isBusy && takeOut(id);
    if (waiting) session.send(waiting.text, waiting.files, {});
  }, [phase, isBusy, id, session]);
  useEffect(() => {
    if (state.refused) composer.current?.put(state.refused.text, state.refused.files);
  }, [state.refused]);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (isOfInputMethod(event)) return;
      const isWriting = (event.target as HTMLElement).matches('input, textarea, select, [contenteditable]');
      if (event.key === '/' && !isWriting) {
        event.preventDefault();
        composer.current?.focus();
      } else if (event.key === 'Escape' && !event.defaultPrevented && session.snapshot().isBusy && !document.querySelector(':popover-open, dialog[open]'))
        void session.stop();
    };
    window.addEventListener('keydown', pressed);
    return () => window.removeEventListener('keydown', pressed);
  }, [session]);

  const send = (text: string, files: Parameters<SessionChat['send']>[1]) => {
    session.send(text, files, phase === 'new' ? toCreate : {});
  };
  const actions = useActions(session, list, open);
  const isEmpty = phase === 'new' && !messages.length;
  const pendingChange = data && changeBetween(lastAnswer(messages)?.metadata, asMetadata(data));

  return (
    <SessionContext value={id}>
      <main
        className={isEmpty ? 'session session-empty' : 'session'}
        onDragOver={(event) => {
          if (!event.dataTransfer.types.includes('Files')) return;
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={(event) => event.currentTarget.contains(event.relatedTarget as Node | null) || setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          composer.current?.add([...event.dataTransfer.files]);
        }}
      >
        <SessionHeader
          data={data}
          list={list}
          open={open}
          isSidebarOpen={isSidebarOpen}
          openSidebar={openSidebar}
          filesAreOpen={filesAreOpen}
          toggleFiles={() => setFilesOpen(!filesAreOpen)}
        />
        <Banner link={state.link} isAnswering={isBusy && messages.length > 0} />
        {phase === 'missing' && <Missing open={open} />}
        {phase === 'loading' && <div className="conversation" aria-busy="true" />}
        {isEmpty && <EmptyState backend={choice.backend} choose={(text) => composer.current?.put(text)} />}
        {(phase === 'open' || (phase === 'new' && !isEmpty)) && (
          <CallEndsContext value={state.callEnds}>
            <Conversation messages={messages} isBusy={isBusy} pendingChange={pendingChange} actions={actions} />
          </CallEndsContext>
        )}
        {phase !== 'missing' && (
          <div className="dock">
            {state.error && (
              <div className="dock-error">
                <Failure message={state.error.message} hint={state.error.hint} />
                <IconButton icon="close" label="Dismiss" onClick={session.dismiss} />
              </div>
            )}
            {state.isAway && (
              <p className="notice dock-notice" role="note">
                The answer is being written. Other tabs are following theirs; this one follows again as soon as you use it.
              </p>
            )}
            {state.notices.map((notice) => (
              <div key={notice.text} className="notice dock-notice" role="note">
                <Icon name="bulb" />
                <p>{notice.text}</p>
                <IconButton icon="close" label="Dismiss" onClick={() => session.dismissNotice(notice.text)} />
              </div>
            ))}
            <Queue messages={[...state.queue, ...state.unsent]} takeBack={(message, isNow) => void session.takeBack(message, isNow)} />
            <Composer
              key={id}
              ref={composer}
              draftKey={phase === 'new' ? 'new' : id}
              isBusy={(isBusy && phase !== 'loading') || waitsForApproval(messages.at(-1))}
              isStopping={state.isStopping}
              settings={<Pickers choice={choice} change={change} plan={plan} />}
              onSend={send}
              onStop={() => void session.stop()}
              onEditLast={() => [...document.querySelectorAll<HTMLElement>('[data-edit]')].at(-1)?.click()}
            />
          </div>
        )}
        {isOver && (
          <div className="drop" aria-hidden="true">
            Drop to attach
          </div>
        )}
      </main>
      {filesAreOpen && phase !== 'missing' && (
        <Boundary fallback={(error, again) => <PartFailed what="The files" error={error} again={again} />}>
          <WorkspacePanel sessionId={id} revision={toolsReturned(messages)} isBusy={isBusy} onClose={() => setFilesOpen(false)} />
        </Boundary>
      )}
    </SessionContext>
  );
}

function useSession(id: string, isNew: boolean, list: SessionList): SessionChat {
  const [session] = useState(() => new SessionChat(id, isNew, (data) => list.learn(data)));
  useEffect(() => session.start(), [session]);
  return session;
}

/** What is said for a person who wants the rest of an answer. */
const CONTINUE = 'Continue exactly where your last answer was cut off.';

/** What the session is set to, or will be created with. */
function useChoice(data: SessionData | null, session: SessionChat) {
  const { value: status } = useStatus();
  const [chosen, setChosen] = useState<Partial<Choice>>({});
  const essential = new Set(['MemoryTools', 'WorkspaceTools', 'PreferenceTools', 'RandomNumberTools']);
  const choice: Choice = data
    ? { backend: data.backend, model: data.llm_model, persona: data.persona_name, tools: data.tools.filter((name) => !essential.has(name)) }
    : { backend: status?.default.backend ?? '', model: status?.default.model ?? '', persona: 'default', tools: [], ...chosen };
  const toCreate = asPatch(chosen.persona && !chosen.model ? chosen : { backend: choice.backend, model: choice.model, ...chosen });
  const change = async (wanted: Partial<Choice>) => {
    if (!data) setChosen((before) => ({ ...before, ...wanted }));
    else await session.update(asPatch(wanted));
  };
  // Before there is a conversation, nothing speaks against a choice.
  const plan = async (wanted: Partial<Choice>) => (data?.message_count ? concerns(await planSession(data.session_id, asPatch(wanted))) : []);
  return { choice, change, plan, toCreate };
}

function asPatch({ backend, model, persona, tools }: Partial<Choice>): SessionPatch {
  return {
    ...(backend ? { backend } : {}),
    ...(model ? { llm_model: model } : {}),
    ...(persona ? { persona_name: persona } : {}),
    ...(tools ? { additional_tools: [...tools] } : {}),
  };
}

function useActions(session: SessionChat, list: SessionList, open: (id: string) => void): MessageActions {
  const copyBefore = useCallback(
    async (seq: number | undefined, message: Outgoing | null) => {
      try {
        const data = session.snapshot().data;
        const copy = await forkSession(session.id, seq);
        list.learn(await patchSession(copy.session_id, { title: `${data ? titleOf(data) : 'Conversation'} (copy)`.slice(0, 500) }));
        if (message) putOut(copy.session_id, message);
        open(copy.session_id);
      } catch (error) {
        const { message, hint } = asApiError(error);
        toast(`Not copied: ${message}${hint ? ` (${hint})` : ''}`, { kind: 'error' });
      }
    },
    [session, list, open],
  );
  return useMemo(
    () => ({
      edit: (messageId, text) => session.edit(messageId, text),
      editInCopy: (message, text) => {
        const files = message.parts.filter((part) => part.type === 'file');
        void copyBefore((message.metadata?.seq ?? 1) - 1, { text, files });
      },
      retry: (messageId) => session.retry(messageId),
      fork: (message) => void copyBefore(endOf(session.chat.messages, message), null),
      decide: (approvalId, decision) => session.decide(approvalId, decision),
      proceed: () => session.send(CONTINUE, [], {}),
    }),
    [session, copyBefore],
  );
}

/** The record behind which a copy of the conversation up to `message` ends: before the next message of a person. */
function endOf(messages: readonly Message[], message: Message): number | undefined {
  const next = messages.slice(messages.indexOf(message) + 1).find((each) => each.role === 'user');
  return next?.metadata?.seq === undefined ? undefined : next.metadata.seq - 1;
}

function lastAnswer(messages: readonly Message[]): Message | undefined {
  return messages.findLast((message) => message.role === 'assistant');
}

function asMetadata(data: SessionData): Message['metadata'] {
  return { backend: data.backend, model: data.llm_model, persona: data.persona_name, configVersion: data.config_version };
}

function Queue({ messages, takeBack }: { messages: readonly Message[]; takeBack: (message: Message, isNow: boolean) => void }) {
  if (!messages.length) return null;
  return (
    <section className="queue" aria-label="Waiting messages">
      <h2>{messages.length === 1 ? 'Next' : `Next, ${messages.length} messages`}</h2>
      <ol>
        {messages.map((message) => (
          <li key={message.id}>
            <span dir="auto">{textOf(message) || 'Attachment'}</span>
            {message.metadata?.queued && !message.parts.some((part) => part.type === 'file') && (
              <IconButton icon="send" label="Tell the running answer now" onClick={() => takeBack(message, true)} />
            )}
            {message.metadata?.queued && <IconButton icon="close" label="Take it back" onClick={() => takeBack(message, false)} />}
          </li>
        ))}
      </ol>
    </section>
  );
}
