/**
 * Who answers, as whom, and with which tools: chosen before the first message or in the middle of a conversation. Rule: a choice is the
 * server's when it has said yes; what cannot be chosen is shown with the reason.
 */
import { useState } from 'react';
import { asApiError } from '../api/http';
import type { ModelRow } from '../api/types';
import { Icon, type IconName } from '../ui/icon';
import { Popover } from '../ui/popover';
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
}

export function Pickers({ choice, change }: PickerProps) {
  return (
    <>
      <ModelPicker choice={choice} change={change} />
      <PersonaPicker choice={choice} change={change} />
      <ToolPicker choice={choice} change={change} />
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

/** Applies a choice; says beside the list why the server did not take it. */
function useApply(change: PickerProps['change']) {
  const [problem, setProblem] = useState('');
  const [isBusy, setBusy] = useState(false);
  const apply = (chosen: Partial<Choice>, done: () => void) => {
    setBusy(true);
    change(chosen)
      .then(
        () => {
          setProblem('');
          done();
        },
        (error: unknown) => {
          const { message, hint } = asApiError(error);
          setProblem(hint ? `${message}. ${hint}` : message);
        },
      )
      .finally(() => setBusy(false));
  };
  return { problem, isBusy, apply };
}

function Problem({ text }: { text: string }) {
  return text ? (
    <p className="problem" role="alert">
      {text}
    </p>
  ) : null;
}

const ROWS_MAX = 200;

function ModelPicker({ choice, change }: PickerProps) {
  const { value: models, error, reload } = useModels();
  const [query, setQuery] = useState('');
  const { problem, isBusy, apply } = useApply(change);
  const wanted = query.trim().toLowerCase();
  const rows = (models ?? []).filter((row) => `${row.backend} ${row.model}`.toLowerCase().includes(wanted));
  const backends = [...new Set(rows.map((row) => row.backend))];
  const own = freeChoice(query, models ?? []);
  return (
    <Popover
      label="Model"
      className="popover-models"
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
          <Problem text={problem || (error && !models ? error.message : '')} />
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
                      onChoose={() => apply({ backend: row.backend, model: row.model ?? '' }, close)}
                    />
                  ))}
              </section>
            ))}
            {own && (
              <button type="button" className="row" disabled={isBusy} onClick={() => apply(own, close)}>
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

function PersonaPicker({ choice, change }: PickerProps) {
  const { value: personas } = usePersonas();
  const { problem, isBusy, apply } = useApply(change);
  return (
    <Popover
      label="Persona"
      button={(button) => <PickerButton icon="person" label="Persona" value={choice.persona || 'default'} button={button} />}
    >
      {(close) => (
        <>
          <Problem text={problem} />
          <div className="rows" role="group" aria-label="Personas" onKeyDown={moveAmong}>
            {(personas ?? []).map((persona) => (
              <button
                key={persona.name}
                type="button"
                className="row"
                aria-pressed={persona.name === choice.persona}
                disabled={isBusy}
                onClick={() => apply({ persona: persona.name }, close)}
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

function ToolPicker({ choice, change }: PickerProps) {
  const { value: toolsets } = useToolsets();
  const { problem, isBusy, apply } = useApply(change);
  const essential = (toolsets ?? []).filter((toolset) => toolset.is_essential);
  const further = (toolsets ?? []).filter((toolset) => !toolset.is_essential);
  const value = choice.tools.length ? `${choice.tools.length} more` : 'Tools';
  return (
    <Popover label="Tools" button={(button) => <PickerButton icon="tool" label="Tools" value={value} button={button} />}>
      {() => (
        <>
          <Problem text={problem} />
          <div className="rows">
            {further.map((toolset) => (
              <label key={toolset.name} className="row">
                <input
                  type="checkbox"
                  checked={choice.tools.includes(toolset.name)}
                  disabled={isBusy}
                  onChange={(event) => {
                    const others = choice.tools.filter((name) => name !== toolset.name);
                    apply({ tools: event.target.checked ? [...others, toolset.name] : others }, () => undefined);
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
  if (event.key !== 'ArrowDown') return;
  event.preventDefault();
  event.currentTarget.parentElement?.querySelector<HTMLElement>('.rows button')?.focus();
}

function moveAmong(event: React.KeyboardEvent<HTMLElement>): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const rows = [...event.currentTarget.querySelectorAll<HTMLElement>('button')];
  event.preventDefault();
  rows[rows.indexOf(document.activeElement as HTMLElement) + step]?.focus();
}
