/** Short notes at the edge, some with a way back. Rule: what a note offers can also be reached without it, or waits until it is gone. */
import { useSyncExternalStore } from 'react';
import { IconButton } from './button';

export interface Toast {
  id: number;
  text: string;
  kind: 'note' | 'error';
  action?: { label: string; run: () => void } | undefined;
  /** Runs when the note goes without its action. */
  onGone?: (() => void) | undefined;
}

const SHOWN_MS = 7_000;
const SHOWN_MAX = 4;
let toasts: readonly Toast[] = [];
let count = 0;
const timers = new Map<number, ReturnType<typeof setTimeout>>();
const listeners = new Set<() => void>();

function set(next: readonly Toast[]): void {
  toasts = next;
  for (const listener of listeners) listener();
}

export function toast(text: string, options: Partial<Omit<Toast, 'id' | 'text'>> = {}): void {
  const id = (count += 1);
  set([...toasts, { id, text, kind: 'note', ...options }]);
  rest(id);
  const [oldest] = toasts;
  if (oldest && toasts.length > SHOWN_MAX) gone(oldest.id);
}

function rest(id: number): void {
  clearTimeout(timers.get(id));
  timers.set(id, setTimeout(() => gone(id), SHOWN_MS));
}

function gone(id: number): void {
  const leaving = toasts.find((each) => each.id === id);
  clearTimeout(timers.get(id));
  timers.delete(id);
  set(toasts.filter((each) => each.id !== id));
  leaving?.onGone?.();
}

function act(each: Toast): void {
  clearTimeout(timers.get(each.id));
  timers.delete(each.id);
  set(toasts.filter((other) => other !== each));
  each.action?.run();
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
  return (
    <div className="toasts" role="region" aria-label="Notifications" aria-live="polite">
      {shown.map((each) => (
        <div
          key={each.id}
          className={`toast toast-${each.kind}`}
          onMouseEnter={() => clearTimeout(timers.get(each.id))}
          onMouseLeave={() => rest(each.id)}
          onFocus={() => clearTimeout(timers.get(each.id))}
          onBlur={() => rest(each.id)}
        >
          <span dir="auto">{each.text}</span>
          {each.action && (
            <button type="button" className="toast-action" onClick={() => act(each)}>
              {each.action.label}
            </button>
          )}
          <IconButton icon="close" label="Dismiss" onClick={() => gone(each.id)} />
        </div>
      ))}
    </div>
  );
}
