/**
 * Who answers, as whom, and with which tools: chosen before the first message or in the middle of a conversation. Rule: a choice is the
 * server's when it has said yes; what cannot be chosen is shown with the reason, and what it would cost the conversation is said before.
 */
import { useCallback, useEffect, useRef, useState } from 'react';
import { asApiError } from '../api/http';
import type { ModelRow } from '../api/types';
import { Button } from '../ui/button';
import { Icon, type IconName } from '../ui/icon';
import { isOfInputMethod } from '../ui/keys';
import { Popover } from '../ui/popover';
import { toast } from '../ui/toast';
import { useModels, usePersonas, useToolsets } from './hooks';

export interface Choice {
  backend: string;
  model: string;
  persona: string;
  /** Toolsets beside the essential ones. */
  tools: readonly string[];
}

interface PickerProps {
  choice: Choice;
  change: (change: Partial<Choice>) => Promise<void>;
  /** What speaks against a change. */
  plan: (change: Partial<Choice>) => Promise<string[]>;
}

export function Pickers(props: PickerProps) {
  return (
    <>
      <ModelPicker {...props} />
      <PersonaPicker {...props} />
      <ToolPicker {...props} />
    </>
  );
}

function PickerButton({ icon, label, value, button }: { icon?: IconName; label: string; value: string; button: object }) {
  return (
    <button type="button" className="picker" aria-label={`${label}: ${value}`} title={`${label}: ${value}`} {...button}>
      {icon && <Icon name={icon} size={15} />}
      <span className="picker-value">{value}</span>
      <Icon name="caret" size={14} />
    </button>
  );
}

interface Doubt {
  reasons: string[];
  goOn: () => void;
}

/** Applies a choice; says above the list what speaks against it, or why the server did not take it. */
function useApply({ change, plan }: PickerProps) {
  const [problem, setProblem] = useState('');
  const [doubt, setDoubt] = useState<Doubt | null>(null);
  const [isBusy, setBusy] = useState(false);
  const isLeft = useRef(false);
  const leave = useCallback(() => {
    isLeft.current = true;
    setDoubt(null);
  }, []);
  const apply = async (chosen: Partial<Choice>, done: () => void, isSure = false) => {
    isLeft.current = false;
    setBusy(true);
    setProblem('');
    try {
      const reasons = isSure ? [] : await plan(chosen);
      if (reasons.length) {
        if (isLeft.current) toast(`Not changed. ${reasons.join(' ')}`);
        else setDoubt({ reasons, goOn: () => void apply(chosen, done, true) });
        return;
      }
      setDoubt(null);
      await change(chosen);
      done();
    } catch (error) {
      const { message, hint } = asApiError(error);
      setProblem(hint ? `${message}. ${hint}` : message);
    } finally {
      setBusy(false);
    }
  };
  const said = (
    <>
      <Problem text={problem} />
      {doubt && <Before doubt={doubt} isBusy={isBusy} leave={leave} />}
    </>
  );
  return { said, isBusy, apply, leave };
}

function Before({ doubt, isBusy, leave }: { doubt: Doubt; isBusy: boolean; leave: () => void }) {
  const stay = useRef<HTMLButtonElement>(null);
  useEffect(() => stay.current?.focus(), []);
  return (
    <div className="doubt" role="group" aria-label="Before you change it">
      {doubt.reasons.map((reason) => (
        <p key={reason}>{reason}</p>
      ))}
      <p className="doubt-buttons">
        <button
          ref={stay}
          type="button"
          className="button button-plain"
          onClick={(event) => {
            event.currentTarget.closest('.popover')?.querySelector<HTMLElement>('input, .row')?.focus();
            leave();
          }}
        >
          Leave it
        </button>
        <Button kind="primary" disabled={isBusy} onClick={doubt.goOn}>
          Change it
        </Button>
      </p>
    </div>
  );
}

function Problem({ text }: { text: string }) {
  return text ? (
    <p className="problem" role="alert">
      {text}
    </p>
  ) : null;
}

const ROWS_MAX = 200;

function ModelPicker(props: PickerProps) {
  const { choice } = props;
  const { value: models, error, reload } = useModels();
  const [query, setQuery] = useState('');
  const { said, isBusy, apply, leave } = useApply(props);
  const wanted = query.trim().toLowerCase();
  const rows = (models ?? []).filter((row) => `${row.backend} ${row.model}`.toLowerCase().includes(wanted));
  const backends = [...new Set(rows.map((row) => row.backend))];
  const own = freeChoice(query, models ?? []);
  return (
    <Popover
      label="Model"
      className="popover-models"
      // The server asks the providers for their lists beside its work: by now it may know more than when the page was opened.
      onOpen={reload}
      onClose={leave}
      button={(button) => (
        <PickerButton label="Model" value={choice.model || choice.backend || 'Default model'} button={button} />
      )}
    >
      {(close) => (
        <>
          <input
            className="popover-search"
            type="search"
            placeholder="Find a model"
            aria-label="Find a model"
            value={query}
            onChange={(event) => setQuery(event.target.value)}
            onKeyDown={(event) => moveInto(event)}
          />
          {said}
          <Problem text={error && !models ? error.message : ''} />
          {error && !models && (
            <button type="button" className="row" onClick={reload}>
              Try again
            </button>
          )}
          <div className="rows" role="group" aria-label="Models" onKeyDown={moveAmong}>
            {backends.map((backend) => (
              <section key={backend} aria-label={backend}>
                <h4 className="rows-head">{backend}</h4>
                {rows
                  .filter((row) => row.backend === backend)
                  .slice(0, ROWS_MAX)
                  .map((row) => (
                    <ModelOption
                      key={row.model ?? ''}
                      row={row}
                      isChosen={row.backend === choice.backend && (row.model ?? '') === choice.model}
                      isBusy={isBusy}
                      onChoose={() => void apply({ backend: row.backend, model: row.model ?? '' }, close)}
                    />
                  ))}
              </section>
            ))}
            {own && (
              <button type="button" className="row" disabled={isBusy} onClick={() => void apply(own, close)}>
                <span>
                  Use “{own.model}” of {own.backend}
                </span>
              </button>
            )}
            {models && !rows.length && !own && <p className="rows-empty">No model of that name. Write backend:model to use another one.</p>}
          </div>
        </>
      )}
    </Popover>
  );
}

function ModelOption({ row, isChosen, isBusy, onChoose }: { row: ModelRow; isChosen: boolean; isBusy: boolean; onChoose: () => void }) {
  return (
    <button type="button" className="row" aria-pressed={isChosen} aria-disabled={!row.usable} disabled={isBusy} onClick={() => row.usable && onChoose()}>
      <span className="row-text">
        <span>{row.model ?? row.backend}</span>
        {!row.usable && row.reason && <small>{row.reason}</small>}
        {row.usable && row.is_default && <small>default</small>}
      </span>
      {isChosen && <Icon name="check" size={16} />}
    </button>
  );
}

/** `backend:model`, for a model that the list does not know. */
function freeChoice(query: string, models: readonly ModelRow[]): { backend: string; model: string } | null {
  const [backend = '', ...rest] = query.trim().split(':');
  const model = rest.join(':');
  const isKnown = models.some((row) => row.backend === backend);
  const isListed = models.some((row) => row.backend === backend && row.model === model);
  return isKnown && model && !isListed ? { backend, model } : null;
}

function PersonaPicker(props: PickerProps) {
  const { choice } = props;
  const { value: personas } = usePersonas();
  const { said, isBusy, apply, leave } = useApply(props);
  return (
    <Popover
      label="Persona"
      onClose={leave}
      button={(button) => <PickerButton icon="person" label="Persona" value={choice.persona || 'default'} button={button} />}
    >
      {(close) => (
        <>
          {said}
          <div className="rows" role="group" aria-label="Personas" onKeyDown={moveAmong}>
            {(personas ?? []).map((persona) => (
              <button
                key={persona.name}
                type="button"
                className="row"
                aria-pressed={persona.name === choice.persona}
                disabled={isBusy}
                onClick={() => void apply({ persona: persona.name }, close)}
              >
                <span className="row-text">
                  <span>{persona.name}</span>
                  {persona.description && <small>{persona.description}</small>}
                </span>
                {persona.name === choice.persona && <Icon name="check" size={16} />}
              </button>
            ))}
          </div>
        </>
      )}
    </Popover>
  );
}

function ToolPicker(props: PickerProps) {
  const { choice } = props;
  const { value: toolsets } = useToolsets();
  const { said, isBusy, apply, leave } = useApply(props);
  const essential = (toolsets ?? []).filter((toolset) => toolset.is_essential);
  const further = (toolsets ?? []).filter((toolset) => !toolset.is_essential);
  const value = choice.tools.length ? `${choice.tools.length} more` : 'Tools';
  return (
    <Popover label="Tools" onClose={leave} button={(button) => <PickerButton icon="tool" label="Tools" value={value} button={button} />}>
      {() => (
        <>
          {said}
          <div className="rows">
            {further.map((toolset) => (
              <label key={toolset.name} className="row">
                <input
                  type="checkbox"
                  checked={choice.tools.includes(toolset.name)}
                  disabled={isBusy}
                  onChange={(event) => {
                    const others = choice.tools.filter((name) => name !== toolset.name);
                    void apply({ tools: event.target.checked ? [...others, toolset.name] : others }, () => undefined);
                  }}
                />
                <span className="row-text">
                  <span>{toolset.name}</span>
                  <small>{toolset.description || toolset.tools.map((tool) => tool.name).join(', ')}</small>
                </span>
              </label>
            ))}
            <h4 className="rows-head">Always there</h4>
            {essential.map((toolset) => (
              <div key={toolset.name} className="row row-fixed" title={toolset.tools.map((tool) => tool.name).join(', ')}>
                <span className="row-text">
                  <span>{toolset.name}</span>
                  <small>{toolset.description}</small>
                </span>
                <Icon name="check" size={16} />
              </div>
            ))}
          </div>
        </>
      )}
    </Popover>
  );
}

function moveInto(event: React.KeyboardEvent<HTMLElement>): void {
  if (isOfInputMethod(event) || event.key !== 'ArrowDown') return;
  event.preventDefault();
  event.currentTarget.parentElement?.querySelector<HTMLElement>('.rows button')?.focus();
}

function moveAmong(event: React.KeyboardEvent<HTMLElement>): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || isOfInputMethod(event)) return;
  const rows = [...event.currentTarget.querySelectorAll<HTMLElement>('button')];
  event.preventDefault();
  rows[rows.indexOf(document.activeElement as HTMLElement) + step]?.focus();
}
