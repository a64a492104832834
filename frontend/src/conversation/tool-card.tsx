/** A call of a tool: what it is asked, what came of it, how long it took; and, where a person has to decide, the decision. */
import { getToolName } from 'ai';
import { createContext, memo, use, useState } from 'react';
import type { ToolPart } from '../chat/messages';
import { Icon, type IconName } from '../ui/icon';
import { duration } from '../ui/format';
import { Approval, type Decide } from './approval';
import { CodeBlock } from './code-block';
import { gist, shown, toolTitle } from './values';

type Look = 'running' | 'waiting' | 'done' | 'failed' | 'stopped';

const LOOKS: Record<Look, { words: string; icon: IconName }> = {
  running: { words: 'running', icon: 'tool' },
  waiting: { words: 'waiting for you', icon: 'person' },
  done: { words: 'done', icon: 'check' },
  failed: { words: 'failed', icon: 'warning' },
  stopped: { words: 'not run', icon: 'close' },
};

export const ToolCard = memo(function ToolCard({ part, isLive, decide }: { part: ToolPart; isLive: boolean; decide: Decide }) {
  const look = lookOf(part, isLive);
  const [isOpen, setOpen] = useState(false);
  const ms = use(DurationsContext).get(part.toolCallId) ?? null;
  const { words, icon } = LOOKS[look];
  const isFolded = !isOpen && look !== 'waiting';
  const name = getToolName(part);
  return (
    <section className={`tool tool-${look}`} aria-label={`Tool ${name}, ${words}`}>
      <button type="button" className="tool-head" aria-expanded={!isFolded} onClick={() => setOpen(!isOpen)}>
        <span className="tool-icon">{look === 'running' ? <span className="spinner" /> : <Icon name={icon} size={15} />}</span>
        <span className="tool-name" title={name}>
          {toolTitle(name)}
        </span>
        <span className="tool-gist">{gist(part.input)}</span>
        <span className="tool-state">{look === 'done' ? (ms === null ? words : duration(ms)) : words}</span>
        <span className="tool-caret">
          <Icon name="caret" size={15} />
        </span>
      </button>
      {!isFolded && (
        <div className="tool-body">
          <Value title="Arguments" value={part.input} />
          {part.state === 'approval-requested' && <Approval part={part} decide={decide} />}
          {part.state === 'output-available' && <Value title="Result" value={part.output} />}
          {part.state === 'output-error' && <Value title="Error" value={part.errorText} />}
          {part.state === 'output-denied' && <p className="tool-note">Not run: you said no.</p>}
        </div>
      )}
    </section>
  );
});

function lookOf(part: ToolPart, isLive: boolean): Look {
  switch (part.state) {
    case 'output-available':
      return 'done';
    case 'output-error':
      return 'failed';
    case 'output-denied':
      return 'stopped';
    case 'approval-requested':
      return 'waiting';
    default:
      return isLive ? 'running' : 'stopped';
  }
}

/** The durations that the server tells, by the id of the call. */
export const DurationsContext = createContext<ReadonlyMap<string, number | null>>(new Map());

function Value({ title, value }: { title: string; value: unknown }) {
  const made = shown(value);
  if (made.kind === 'none') return title === 'Result' ? <p className="tool-note">It returned nothing.</p> : null;
  return (
    <div className="tool-value">
      <h4>{title}</h4>
      {made.kind === 'code' && !made.lang ? (
        <pre className="plain" tabIndex={0}>
          {made.text}
        </pre>
      ) : made.kind === 'code' ? (
        <CodeBlock code={made.text} lang={made.lang} />
      ) : (
        <dl>
          {made.fields.map((field) => (
            <div key={field.name} className={field.isLong ? 'field field-long' : 'field'}>
              <dt>{field.name}</dt>
              <dd>{field.isLong ? <pre tabIndex={0}>{field.value}</pre> : field.value}</dd>
            </div>
          ))}
        </dl>
      )}
    </div>
  );
}
