/** A call of a tool: what it is asked, what came of it, how long it took; and, where a person has to decide, the decision. */
import { getToolName } from 'ai';
import { createContext, memo, use, useState } from 'react';
import type { CallEnd } from '../api/routes';
import type { ToolPart } from '../chat/messages';
import { count, duration } from '../ui/format';
import { Icon, type IconName } from '../ui/icon';
import { Seen } from '../ui/unseen';
import { Approval, type Decide } from './approval';
import { CodeBlock } from './code-block';
import { gist, shown, toolTitle } from './values';

/** From so many characters on, a person is told how much there is to read. */
const SIZE_SAID = 400;

type Look = 'running' | 'waiting' | 'done' | 'failed' | 'stopped' | 'unknown' | 'skipped';

const LOOKS: Record<Look, { words: string; icon: IconName }> = {
  running: { words: 'running', icon: 'tool' },
  waiting: { words: 'waiting for you', icon: 'person' },
  done: { words: 'done', icon: 'check' },
  failed: { words: 'failed', icon: 'warning' },
  stopped: { words: 'stopped', icon: 'stop' },
  unknown: { words: 'outcome unknown', icon: 'warning' },
  skipped: { words: 'not run', icon: 'close' },
};

export const ToolCard = memo(function ToolCard({ part, isLive, decide }: { part: ToolPart; isLive: boolean; decide: Decide }) {
  const end = use(CallEndsContext).get(part.toolCallId) ?? null;
  const look = lookOf(part, isLive, end);
  const [isOpen, setOpen] = useState(false);
  const { words, icon } = LOOKS[look];
  const isFolded = !isOpen && look !== 'waiting';
  const name = getToolName(part);
  return (
    <section className={`tool tool-${look}`} aria-label={`Tool ${name}, ${words}`}>
      <button type="button" className="tool-head" aria-expanded={!isFolded} onClick={() => setOpen(!isOpen)}>
        <span className="tool-icon">{look === 'running' ? <span className="spinner" /> : <Icon name={icon} size={15} />}</span>
        <span className="tool-name" title={name}>
          <Seen text={look === 'waiting' ? name : toolTitle(name)} isLine />
        </span>
        <span className="tool-gist" dir="auto">
          {look !== 'waiting' && <Seen text={gist(part.input)} isLine />}
        </span>
        <span className="tool-state">{look === 'done' && end ? duration(end.ms) : words}</span>
        <span className="tool-caret">
          <Icon name="caret" size={15} />
        </span>
      </button>
      {!isFolded && (
        <div className="tool-body">
          <Value title="Arguments" value={part.input} isWhole={look === 'waiting'} />
          {part.state === 'approval-requested' && <Approval part={part} decide={decide} />}
          {part.state === 'output-available' && <Value title="Result" value={part.output} />}
          {part.state === 'output-error' && <Value title="Error" value={part.errorText} />}
          {part.state === 'output-denied' && <p className="tool-note">Not run: you said no.</p>}
        </div>
      )}
    </section>
  );
});

/** How the server's words begin where a call was never run: its answer ended, or was cut off, before it was complete. */
const NOT_RUN = /^(?:The call was not run|\[Not run:)/;

function lookOf(part: ToolPart, isLive: boolean, end: CallEnd | null): Look {
  switch (part.state) {
    case 'output-available':
      return 'done';
    case 'output-error':
      if (end?.outcome === 'cancelled') return 'stopped';
      if (end?.outcome === 'unknown') return 'unknown';
      return NOT_RUN.test(part.errorText) ? 'skipped' : 'failed';
    case 'output-denied':
      return 'skipped';
    case 'approval-requested':
      return 'waiting';
    default:
      return isLive ? 'running' : 'skipped';
  }
}

/** What the server tells of calls that have ended, by their id. */
export const CallEndsContext = createContext<ReadonlyMap<string, CallEnd | null>>(new Map());

/** Arguments or a result. `isWhole`: a person decides by it, so all of it is there, and nothing scrolls within a box. */
function Value({ title, value, isWhole = false }: { title: string; value: unknown; isWhole?: boolean }) {
  const made = shown(value, isWhole);
  if (made.kind === 'none') return title === 'Result' ? <p className="tool-note">It returned nothing.</p> : null;
  return (
    <div className="tool-value">
      <h4>
        {title}
        {isWhole && made.size > SIZE_SAID && `, ${count(made.size)} characters: read to the end`}
      </h4>
      {made.kind === 'code' && !made.lang ? (
        <pre className="plain" tabIndex={0}>
          <Seen text={made.text} />
        </pre>
      ) : made.kind === 'code' ? (
        <CodeBlock code={made.text} lang={made.lang} isPlain={isWhole} />
      ) : (
        <dl>
          {made.fields.map((field) => (
            <div key={field.name} className={field.isLong ? 'field field-long' : 'field'}>
              <dt>
                <Seen text={field.name} isLine />
              </dt>
              <dd dir="auto">
                {field.isLong ? (
                  <pre tabIndex={0}>
                    <Seen text={field.value} />
                  </pre>
                ) : (
                  <Seen text={field.value} />
                )}
              </dd>
            </div>
          ))}
        </dl>
      )}
    </div>
  );
}
