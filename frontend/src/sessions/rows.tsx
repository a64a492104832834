/** The list of sessions: only what is in view exists, however many there are. */
import { useEffect, useRef, useState, useSyncExternalStore } from 'react';
import { asApiError } from '../api/http';
import { exportPath, forkSession, patchSession } from '../api/routes';
import type { SessionData } from '../api/types';
import { tell } from '../chat/tabs';
import { Button } from '../ui/button';
import { Icon } from '../ui/icon';
import { isOfInputMethod } from '../ui/keys';
import { Popover } from '../ui/popover';
import { toast } from '../ui/toast';
import { Seen, isBlank } from '../ui/unseen';
import type { SessionList } from './list-store';
import { useVirtual } from './virtual';

const ROW_PX = 36;
const NEAR_END = 30;

/** What a session is called; a title in which there is nothing to be read is none. */
export const titleOf = (session: SessionData) => (isBlank(session.title) ? 'New conversation' : session.title);

interface RowsProps {
  list: SessionList;
  current: string | null;
  open: (sessionId: string | null) => void;
}

export function SessionRows({ list, current, open }: RowsProps) {
  const { items, isLoading, isWhole, error, query } = useSyncExternalStore(list.subscribe, list.snapshot);
  const { box, range, measure, reveal } = useVirtual(items.length, ROW_PX);
  const [focused, setFocused] = useState<string | null>(null);
  const [from, to] = range;

  useEffect(() => {
    if (to > items.length - NEAR_END) list.more();
  }, [to, items.length, list, isLoading]);

  const sessions = items.length - items.filter((item) => item.kind === 'heading').length;
  const reachable = focused ?? current;
  const isDrawn = items.slice(from, to).some((item) => item.kind === 'session' && item.session.session_id === reachable);
  const firstDrawn = items.slice(from, to).find((item) => item.kind === 'session');
  const tabStop = isDrawn ? reachable : firstDrawn?.kind === 'session' ? firstDrawn.session.session_id : null;

  const move = (event: React.KeyboardEvent) => {
    if (isOfInputMethod(event)) return;
    const at = items.findIndex((item) => item.kind === 'session' && item.session.session_id === tabStop);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -items.length, End: items.length }[event.key];
    if (step === undefined || !(event.target as HTMLElement).matches('[data-row]')) return;
    event.preventDefault();
    let next = Math.min(Math.max(0, at + step), items.length - 1);
    if (items[next]?.kind === 'heading') next += step > 0 || next === 0 ? 1 : -1;
    const item = items[next];
    if (item?.kind !== 'session') return;
    setFocused(item.session.session_id);
    reveal(next);
    requestAnimationFrame(() => box.current?.querySelector<HTMLElement>('[data-row][tabindex="0"]')?.focus());
  };

  if (error && !items.length)
    return (
      <div className="rows-note">
        <p>{error.message}</p>
        <Button onClick={() => list.retry()}>Try again</Button>
      </div>
    );
  if (!items.length && !isLoading)
    return (
      <div className="rows-note">
        {query ? <p>Nothing found for “{query}”.</p> : <p>Your conversations will be here. They survive restarts, crashes and closed tabs.</p>}
      </div>
    );
  return (
    <div className="rows-box" ref={box} onScroll={measure} onKeyDown={move}>
      <ul className="rows-canvas" style={{ height: items.length * ROW_PX }} aria-busy={isLoading}>
        {items.slice(from, to).map((item, at) => {
          const index = from + at;
          const style = { transform: `translateY(${index * ROW_PX}px)` };
          return item.kind === 'heading' ? (
            <li key={`heading ${item.text}`} className="row-heading" style={style}>
              {item.text}
            </li>
          ) : (
            <li key={item.session.session_id} className="row-session" style={style} aria-setsize={isWhole ? sessions : -1} aria-posinset={index + 1}>
              <SessionRow
                session={item.session}
                list={list}
                isCurrent={item.session.session_id === current}
                isTabStop={item.session.session_id === tabStop}
                open={open}
                onFocus={() => setFocused(item.session.session_id)}
              />
            </li>
          );
        })}
      </ul>
    </div>
  );
}

interface RowProps {
  session: SessionData;
  list: SessionList;
  isCurrent: boolean;
  isTabStop: boolean;
  open: (sessionId: string | null) => void;
  onFocus: () => void;
}

function SessionRow({ session, list, isCurrent, isTabStop, open, onFocus }: RowProps) {
  const [isRenaming, setRenaming] = useState(false);
  const link = useRef<HTMLAnchorElement>(null);
  const id = session.session_id;
  const remove = () => removeSession(list, session, isCurrent ? () => open(null) : () => undefined, () => open(id), isCurrent);

  if (isRenaming)
    return (
      <RenameField
        title={session.title}
        onDone={(title) => {
          setRenaming(false);
          requestAnimationFrame(() => link.current?.focus());
          if (title !== null && title !== session.title) void renameSession(list, session, title);
        }}
      />
    );
  return (
    <>
      <a
        ref={link}
        data-row
        className="row-link"
        href={`/s/${encodeURIComponent(id)}`}
        tabIndex={isTabStop ? 0 : -1}
        aria-current={isCurrent ? 'page' : undefined}
        title={titleOf(session)}
        onFocus={onFocus}
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey) return;
          event.preventDefault();
          open(id);
        }}
        onDoubleClick={() => setRenaming(true)}
        onKeyDown={(event) => {
          if (isOfInputMethod(event)) return;
          if (event.key === 'F2') setRenaming(true);
          if (event.key === 'Delete') remove();
        }}
      >
        <span className="row-title" dir="auto">
          <Seen text={titleOf(session)} isLine />
        </span>
        {session.status === 'running' && <span className="row-running" role="img" aria-label="answering" />}
        {session.status === 'waiting' && <span className="row-waiting" role="img" aria-label="waiting for you" />}
      </a>
      <SessionMenu session={session} isTabStop={isTabStop} onRename={() => setRenaming(true)} onDelete={remove} onFork={() => void copySession(list, session, open)} />
    </>
  );
}

export function SessionMenu({
  session,
  isTabStop = true,
  onRename,
  onDelete,
  onFork,
}: {
  session: SessionData;
  isTabStop?: boolean;
  onRename: () => void;
  onDelete: () => void;
  onFork: () => void;
}) {
  return (
    <Popover
      label={`Actions for ${titleOf(session)}`}
      role="menu"
      className="menu"
      button={(button) => (
        <button type="button" className="icon-button row-menu" aria-label={`Actions for ${titleOf(session)}`} tabIndex={isTabStop ? 0 : -1} {...button}>
          <Icon name="more" />
        </button>
      )}
    >
      {(close) => {
        const item = (run: () => void) => () => {
          close();
          run();
        };
        return (
          <>
            <button type="button" role="menuitem" onClick={item(onRename)}>
              <Icon name="edit" size={16} /> Rename
            </button>
            <button type="button" role="menuitem" onClick={item(onFork)}>
              <Icon name="branch" size={16} /> Make a copy
            </button>
            <a role="menuitem" href={exportPath(session.session_id)} download onClick={close}>
              <Icon name="download" size={16} /> Export
            </a>
            <button type="button" role="menuitem" className="menu-danger" onClick={item(onDelete)}>
              <Icon name="trash" size={16} /> Delete
            </button>
          </>
        );
      }}
    </Popover>
  );
}

export function RenameField({ title, onDone }: { title: string; onDone: (title: string | null) => void }) {
  const [draft, setDraft] = useState(title);
  const isOver = useRef(false);
  const finish = (value: string | null) => {
    if (isOver.current) return;
    isOver.current = true;
    onDone(value?.trim() || null);
  };
  return (
    <input
      className="rename"
      dir="auto"
      aria-label="Name of the session"
      autoFocus
      maxLength={500}
      value={draft}
      onFocus={(event) => event.target.select()}
      onChange={(event) => setDraft(event.target.value)}
      onBlur={() => finish(draft)}
      onKeyDown={(event) => {
        event.stopPropagation();
        if (isOfInputMethod(event)) return;
        if (event.key === 'Enter') finish(draft);
        if (event.key === 'Escape') finish(null);
      }}
    />
  );
}

// --- what can be done with a session ------------------------------------------------------------------------------------

export async function renameSession(list: SessionList, session: SessionData, title: string): Promise<void> {
  list.learn({ ...session, title });
  try {
    list.learn(await patchSession(session.session_id, { title }));
    tell({ kind: 'session', sessionId: session.session_id });
  } catch (error) {
    list.learn(session);
    toast(`Not renamed: ${asApiError(error).message}`, { kind: 'error' });
  }
}

export async function copySession(list: SessionList, session: SessionData, open: (id: string) => void): Promise<void> {
  try {
    const copy = await forkSession(session.session_id);
    const named = await patchSession(copy.session_id, { title: `${titleOf(session)} (copy)`.slice(0, 500) });
    list.learn(named);
    tell({ kind: 'list' });
    open(copy.session_id);
  } catch (error) {
    toast(`Not copied: ${asApiError(error).message}`, { kind: 'error' });
  }
}

export function removeSession(list: SessionList, session: SessionData, leave: () => void, comeBack: () => void, isCurrent: boolean): void {
  const id = session.session_id;
  list.hide(id);
  leave();
  toast(`Deleted “${titleOf(session)}”`, {
    action: {
      label: 'Undo',
      run: () => {
        list.bringBack(id);
        if (isCurrent) comeBack();
      },
    },
    onGone: () => {
      list.forget(id).catch((error: unknown) => toast(`Not deleted: ${asApiError(error).message}`, { kind: 'error' }));
    },
  });
}
