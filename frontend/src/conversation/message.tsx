/** One message of the conversation: what a person said, or the whole answer of a turn. */
import { memo, useState } from 'react';
import { type Message, type Part, isToolPart, modelName, partsOf, textOf } from '../chat/messages';
import { Boundary, PartFailed } from '../ui/boundary';
import { Button, IconButton } from '../ui/button';
import { useCopy } from '../ui/copy';
import { advice, clock, count, money, sentence } from '../ui/format';
import { Icon } from '../ui/icon';
import { isOfInputMethod } from '../ui/keys';
import { Seen, withoutHeaps } from '../ui/unseen';
import type { Decide } from './approval';
import { Markdown, PlainText } from './markdown';
import { ToolCard } from './tool-card';

export interface MessageActions {
  edit: (messageId: string, text: string) => void;
  editInCopy: (message: Message, text: string) => void;
  retry: (messageId: string) => void;
  fork: (message: Message) => void;
  decide: Decide;
  /** Asks the model to continue an answer that was cut off. */
  proceed: () => void;
}

export const UserMessage = memo(function UserMessage({
  message,
  canAct,
  actions,
}: {
  message: Message;
  canAct: boolean;
  actions: MessageActions;
}) {
  const [isEditing, setEditing] = useState(false);
  const [isCopied, copy] = useCopy();
  const text = textOf(message);
  if (isEditing)
    return (
      <article className="message message-user" aria-label="You">
        <Editor
          text={text}
          onCancel={() => setEditing(false)}
          onSend={(changed) => {
            setEditing(false);
            actions.edit(message.id, changed);
          }}
          onSendInCopy={(changed) => {
            setEditing(false);
            actions.editInCopy(message, changed);
          }}
        />
      </article>
    );
  return (
    <article className="message message-user" aria-label="You">
      <h3 className="visually-hidden">You</h3>
      <Attachments parts={message.parts} />
      {text && (
        <div className="bubble" dir="auto">
          <Folded text={text} />
        </div>
      )}
      <div className="message-tools">
        {message.metadata?.createdAt && <time className="message-note">{clock(message.metadata.createdAt)}</time>}
        {text && <IconButton icon={isCopied ? 'check' : 'copy'} label={isCopied ? 'Copied' : 'Copy message'} onClick={() => copy(text)} />}
        {canAct && message.metadata?.seq !== undefined && (
          <IconButton icon="edit" label="Edit message" data-edit onClick={() => setEditing(true)} />
        )}
      </div>
    </article>
  );
});

function Editor({
  text,
  onCancel,
  onSend,
  onSendInCopy,
}: {
  text: string;
  onCancel: () => void;
  onSend: (text: string) => void;
  onSendInCopy: (text: string) => void;
}) {
  const [draft, setDraft] = useState(text);
  const isEmpty = !draft.trim();
  return (
    <form
      className="editor"
      onSubmit={(event) => {
        event.preventDefault();
        if (!isEmpty) onSend(draft);
      }}
    >
      <textarea
        autoFocus
        dir="auto"
        aria-label="Edit message"
        value={draft}
        onFocus={(event) => event.target.setSelectionRange(draft.length, draft.length)}
        onChange={(event) => setDraft(event.target.value)}
        onKeyDown={(event) => {
          if (isOfInputMethod(event)) return;
          if (event.key === 'Escape') onCancel();
          if (event.key === 'Enter' && !event.shiftKey) {
            event.preventDefault();
            if (!isEmpty) onSend(draft);
          }
        }}
      />
      <p className="editor-note">“Send” replaces what follows. “Send in a copy” keeps this conversation as it is.</p>
      <div className="editor-buttons">
        <Button onClick={onCancel}>Cancel</Button>
        <Button icon="branch" disabled={isEmpty} onClick={() => onSendInCopy(draft)}>
          Send in a copy
        </Button>
        <Button kind="primary" type="submit" disabled={isEmpty}>
          Send
        </Button>
      </div>
    </form>
  );
}

export const AssistantMessage = memo(function AssistantMessage({
  message,
  isLive,
  canAct,
  isLast,
  actions,
}: {
  message: Message;
  isLive: boolean;
  canAct: boolean;
  isLast: boolean;
  actions: MessageActions;
}) {
  const [isCopied, copy] = useCopy();
  const { outcome, error } = message.metadata ?? {};
  const text = textOf(message);
  const parts = partsOf(message);
  return (
    <article className="message message-assistant" aria-label="Answer" aria-busy={isLive}>
      <h3 className="visually-hidden">Answer</h3>
      {parts.map((part, at) => (
        <Boundary key={at} of={`${message.id} ${isLive}`} fallback={(failure, again) => <PartInstead part={part} error={failure} again={again} />}>
          <PartView part={part} isLive={isLive} isLastPart={at === parts.length - 1} decide={actions.decide} />
        </Boundary>
      ))}
      {isLive && !hasSomethingToShow(message) && <Thinking />}
      {!isLive && outcome === 'completed' && <CutShort message={message} canAct={canAct && isLast} proceed={actions.proceed} />}
      {!isLive && outcome === 'cancelled' && <p className="outcome">You stopped this answer.</p>}
      {!isLive && outcome === 'interrupted' && (
        <Failure message={error?.message ?? 'The answer was interrupted'} hint={error?.hint ?? 'Retry asks again.'} />
      )}
      {!isLive && outcome === 'failed' && <Failure message={error?.message ?? 'The answer failed'} hint={error?.hint} code={error?.code} />}
      {!isLive && (
        <div className={isLast ? 'message-tools message-tools-last' : 'message-tools'}>
          {text && <IconButton icon={isCopied ? 'check' : 'copy'} label={isCopied ? 'Copied' : 'Copy answer'} onClick={() => copy(text)} />}
          {canAct && <IconButton icon="retry" label="Answer again" onClick={() => actions.retry(message.id)} />}
          {canAct && message.metadata?.seq !== undefined && (
            <IconButton icon="branch" label="Continue in a copy from here" onClick={() => actions.fork(message)} />
          )}
          <UsageLine message={message} />
        </div>
      )}
    </article>
  );
});

/** What is said below an answer that did not end as it should. */
function CutShort({ message, canAct, proceed }: { message: Message; canAct: boolean; proceed: () => void }) {
  const { finishReason, finishTokens } = message.metadata ?? {};
  if (finishReason === undefined) return textOf(message).trim() || message.parts.some(isToolPart) ? null : <p className="outcome">The answer is empty.</p>;
  const isCut = finishReason === 'length';
  const limit = finishTokens ? `the limit of ${count(finishTokens)} tokens` : 'the output limit';
  return (
    <div className="cut-short" role="note">
      <Icon name="warning" size={16} />
      <p>
        {isCut && `The answer was cut off at ${limit}.`}
        {finishReason === 'context' &&
          'The answer was cut off because the context window of the model is full. Start a new session, or choose a model with a larger one.'}
        {finishReason === 'content-filter' && 'The provider’s content filter cut the answer off here.'}
        {finishReason === 'refusal' && 'The model declined to answer.'}
        {finishReason === 'other' && 'The provider ended the answer here without saying that it is complete.'}
      </p>
      {isCut && canAct && (
        <Button icon="down" onClick={proceed}>
          Continue
        </Button>
      )}
    </div>
  );
}

/** Instead of a part that could not be drawn: its words, if it has any. */
function PartInstead({ part, error, again }: { part: Part; error: Error; again: () => void }) {
  const text = part.type === 'text' || part.type === 'reasoning' ? part.text : undefined;
  return typeof text === 'string' ? <PlainText text={text} /> : <PartFailed what="A part of this answer" error={error} again={again} />;
}

const FOLDED_CHARACTERS = 4_000;
const FOLDED_LINES = 60;

/** What a person said, as it was written; a pasted log is folded. */
function Folded({ text }: { text: string }) {
  const [isOpen, setOpen] = useState(false);
  const end = foldAt(text);
  if (end === null) return withoutHeaps(text);
  return (
    <>
      {withoutHeaps(isOpen ? text : `${text.slice(0, end)}…`)}{' '}
      <button type="button" className="fold" onClick={() => setOpen(!isOpen)}>
        {isOpen ? 'Show less' : `Show all ${count(text.length)} characters`}
      </button>
    </>
  );
}

function foldAt(text: string): number | null {
  let end = 0;
  for (let lines = 0; lines < FOLDED_LINES; lines += 1) {
    const next = text.indexOf('\n', end);
    if (next < 0) {
      end = text.length;
      break;
    }
    end = next + 1;
  }
  const isLong = text.length > FOLDED_CHARACTERS * 1.5 || text.length - end > 500;
  if (!isLong) return null;
  const at = Math.min(end, FOLDED_CHARACTERS);
  return /[\ud800-\udbff]/.test(text[at - 1] ?? '') ? at - 1 : at; // Not in the middle of a character.
}

function PartView({ part, isLive, isLastPart, decide }: { part: Part; isLive: boolean; isLastPart: boolean; decide: Decide }) {
  if (part.type === 'text') return part.text ? <Markdown text={part.text} /> : null;
  if (part.type === 'reasoning') return part.text.trim() ? <Reasoning text={part.text} isRunning={isLive && isLastPart} /> : null;
  if (isToolPart(part)) return <ToolCard part={part} isLive={isLive} decide={decide} />;
  if (part.type === 'file') return <Attachments parts={[part]} />;
  return null;
}

function Reasoning({ text, isRunning }: { text: string; isRunning: boolean }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details className="reasoning" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <Icon name="bulb" size={15} />
        <span className={isRunning ? 'shimmer' : ''}>{isRunning ? 'Thinking…' : 'Thoughts'}</span>
        <span className="reasoning-gist" dir="auto">{isRunning ? lastLine(text) : ''}</span>
      </summary>
      <div className="reasoning-text">{isOpen && <Markdown text={text} />}</div>
    </details>
  );
}

function lastLine(text: string): string {
  const line = text.trimEnd().split('\n').at(-1) ?? '';
  return line.length <= 100 ? line : `…${line.slice(-100).replace(/^\S*/, '')}`;
}

export function Thinking() {
  return (
    <p className="waiting" role="status">
      <span className="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      <span className="visually-hidden">Waiting for the answer</span>
    </p>
  );
}

function hasSomethingToShow(message: Message): boolean {
  const last = message.parts.at(-1);
  if (!last) return false;
  if (last.type === 'text' || last.type === 'reasoning') return last.text.trim() !== '';
  return isToolPart(last) && last.state !== 'output-available' && last.state !== 'output-error';
}

export function Failure({ message, hint, code }: { message: string; hint?: string | undefined; code?: string | undefined }) {
  return (
    <div className="failure" role="alert">
      <Icon name="warning" />
      <div>
        <p className="failure-message">{sentence(message)}</p>
        {hint && <p className="failure-hint">{advice(hint)}</p>}
        {code && <p className="failure-code">{code}</p>}
      </div>
    </div>
  );
}

function UsageLine({ message }: { message: Message }) {
  const { usage, model, backend, createdAt } = message.metadata ?? {};
  const said = [
    modelName(backend, model),
    usage?.inputTokens ? `${count(usage.inputTokens)} in` : '',
    usage?.outputTokens ? `${count(usage.outputTokens)} out` : '',
    usage?.costUsd ? money(usage.costUsd) : '',
  ].filter(Boolean);
  if (!model) return null;
  const details = [
    createdAt && clock(createdAt),
    usage?.cachedInputTokens ? `${count(usage.cachedInputTokens)} from the cache` : null,
    usage?.reasoningTokens ? `${count(usage.reasoningTokens)} for thinking` : null,
  ].filter(Boolean);
  return (
    <span className="message-note" title={details.join(' · ')}>
      {said.join(' · ')}
    </span>
  );
}

export function Attachments({ parts }: { parts: readonly Part[] }) {
  const files = parts.filter((part) => part.type === 'file');
  if (!files.length) return null;
  return (
    <ul className="attachments" aria-label="Attachments">
      {files.map((file, at) => (
        <li key={at}>
          {/^data:image\/(png|jpeg|gif|webp)[;,]/.test(file.url) ? (
            <img className="attachment-image" src={file.url} alt={file.filename || 'Attached picture'} />
          ) : (
            <span className="attachment-file">
              <Icon name="file" />
              <span dir="auto">
                <Seen text={file.filename || file.mediaType} isLine />
              </span>
            </span>
          )}
        </li>
      ))}
    </ul>
  );
}
