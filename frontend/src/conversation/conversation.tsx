/**
 * The messages of a session, the latest in view. Of a long session only the end is drawn; what is above comes as the reader goes
 * there. Rule: what has not changed is not drawn again.
 */
import { Fragment, useCallback, useEffect, useLayoutEffect, useRef, useState } from 'react';
import { type Message, changeBetween, heldBack } from '../chat/messages';
import { Boundary, PartFailed } from '../ui/boundary';
import { Button } from '../ui/button';
import { Announcer } from './announcer';
import { PlainText } from './markdown';
import { AssistantMessage, type MessageActions, Thinking, UserMessage } from './message';
import { useStick } from './stick';

const WINDOW = 30;

interface ConversationProps {
  messages: readonly Message[];
  isBusy: boolean;
  /** What the next answer will be set to, if that is another thing than the last one was. */
  pendingChange: string | null;
  actions: MessageActions;
}

export function Conversation({ messages, isBusy, pendingChange, actions }: ConversationProps) {
  const { scroller, isAtEnd, toEnd } = useStick();
  const box = useRef<HTMLElement | null>(null);
  const [shown, setShown] = useState(WINDOW);
  const held = useRef<Message | null>(null);
  const above = useRef<HTMLDivElement>(null);
  const heightBefore = useRef<number | null>(null);

  const last = messages.at(-1);
  const answer = last?.role === 'assistant' ? (isBusy ? heldBack(held.current, last) : last) : undefined;
  held.current = answer ?? null;
  // The same function at every drawing: another one would be a new element to React.
  const attach = useCallback(
    (element: HTMLElement | null) => {
      box.current = element;
      scroller(element);
    },
    [scroller],
  );
  const from = Math.max(0, messages.length - shown);

  // What a person sends brings the end into view.
  const lastUserId = messages.findLast((message) => message.role === 'user')?.id;
  const seenUserId = useRef(lastUserId);
  useEffect(() => {
    if (seenUserId.current !== lastUserId && isBusy) toEnd();
    seenUserId.current = lastUserId;
  }, [lastUserId, isBusy, toEnd]);

  const showMore = () => {
    heightBefore.current = box.current ? box.current.scrollHeight - box.current.scrollTop : null;
    setShown((count) => count + WINDOW);
  };
  useLayoutEffect(() => {
    // What was in view stays where it was.
    if (heightBefore.current === null || !box.current) return;
    box.current.scrollTop = box.current.scrollHeight - heightBefore.current;
    heightBefore.current = null;
  }, [shown]);
  useEffect(() => {
    const sentinel = above.current;
    if (!sentinel || from === 0) return;
    const near = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && showMore(), {
      root: box.current,
      rootMargin: '600px 0px 0px 0px',
    });
    near.observe(sentinel);
    return () => near.disconnect();
  }, [from]);

  return (
    <>
      <section
        className="conversation"
        aria-label="Conversation"
        tabIndex={0}
        ref={attach}
      >
        <div className="column">
          {from > 0 && (
            <div ref={above} className="earlier">
              <Button onClick={showMore}>Show {Math.min(WINDOW, from)} earlier messages</Button>
            </div>
          )}
          {messages.slice(from).map((message, at) => {
            const isLast = from + at === messages.length - 1;
            const change = changeAt(messages, from + at) ?? (isBusy && isLast && message.role === 'user' ? pendingChange : null);
            return (
              <Fragment key={message.id}>
                {change && <Divider text={change} />}
                <Boundary of={`${message.id} ${isLast && isBusy}`} fallback={(error, again) => <MessageInstead message={message} error={error} again={again} />}>
                  {message.role === 'user' ? (
                    <UserMessage message={message} canAct={!isBusy} actions={actions} />
                  ) : (
                    <AssistantMessage
                      message={isLast && answer ? answer : message}
                      isLive={isLast && isBusy}
                      canAct={!isBusy}
                      isLast={isLast}
                      actions={actions}
                    />
                  )}
                </Boundary>
              </Fragment>
            );
          })}
          {isBusy && last?.role === 'user' && (
            <div className="message message-assistant">
              <Thinking />
            </div>
          )}
          {!isBusy && pendingChange && <Divider text={pendingChange} />}
        </div>
      </section>
      {!isAtEnd && (
        <div className="to-end">
          <Button icon="down" onClick={() => toEnd(true)}>
            {isBusy ? 'Follow the answer' : 'Latest'}
          </Button>
        </div>
      )}
      <Boundary of={last?.id ?? ''} fallback={() => null}>
        <Announcer message={last} isLive={isBusy} />
      </Boundary>
    </>
  );
}

/** Instead of a message that could not be drawn: its words. */
function MessageInstead({ message, error, again }: { message: Message; error: Error; again: () => void }) {
  const words = (message.parts ?? []).flatMap((part) => (part.type === 'text' && typeof part.text === 'string' ? [part.text] : []));
  return (
    <article className={`message message-${message.role}`} aria-label={message.role === 'user' ? 'You' : 'Answer'}>
      {words.map((text, at) => (
        <PlainText key={at} text={text} />
      ))}
      <PartFailed what="This message" error={error} again={again} />
    </article>
  );
}

/** A change stands before the message that was said after it. */
function changeAt(messages: readonly Message[], at: number): string | null {
  const message = messages[at];
  const answer = message?.role === 'user' ? messages[at + 1] : messages[at - 1]?.role === 'user' ? undefined : message;
  return answer?.role === 'assistant' ? changeBetween(answerBefore(messages, at), answer.metadata) : null;
}

function answerBefore(messages: readonly Message[], at: number): Message['metadata'] {
  for (let index = at - 1; index >= 0; index -= 1) if (messages[index]?.role === 'assistant') return messages[index]?.metadata;
  return undefined;
}

function Divider({ text }: { text: string }) {
  return (
    <p className="divider" role="note">
      <span>{text}</span>
    </p>
  );
}
