/** The whole page: sessions at the left, one of them in the middle, its files at the right. */
import { useCallback, useEffect, useRef, useState } from 'react';
import { newId } from './chat/session-chat';
import { Locked } from './empty-state';
import { navigate, pathOf, sessionIn, usePath } from './routing';
import { SessionView } from './session-view';
import { SessionList } from './sessions/list-store';
import { Sidebar } from './sessions/sidebar';
import { useStatus } from './settings/hooks';
import { Shortcuts } from './shortcuts';
import { Boundary, PartFailed } from './ui/boundary';
import { isOfInputMethod } from './ui/keys';
import { Toasts } from './ui/toast';

const NARROW = '(max-width: 860px)';

export function App() {
  const path = usePath();
  const inPath = sessionIn(path);
  const [fresh, setFresh] = useState(() => newId('s'));
  // The session that this page has begun: it has no past to be fetched.
  const [begun, setBegun] = useState<string | null>(null);
  const [list] = useState(() => new SessionList());
  const { value: status, error } = useStatus();
  const isNarrow = useMedia(NARROW);
  const [isSidebarOpen, setSidebarOpen] = useKept('greenroom:sidebar', !isNarrow);
  const [filesAreOpen, setFilesOpen] = useKept('greenroom:files', false);
  const [showsShortcuts, setShortcuts] = useState(false);
  const search = useRef<HTMLInputElement>(null);
  const isDrawn = isNarrow && isSidebarOpen;

  useEffect(() => list.start(), [list]);
  useEffect(() => {
    if (isNarrow) {
      setSidebarOpen(false);
      setFilesOpen(false);
    }
  }, [isNarrow, setSidebarOpen, setFilesOpen]);

  const open = useCallback(
    (sessionId: string | null) => {
      if (sessionId === fresh) setBegun(fresh);
      if (sessionId === null) setFresh(newId('s'));
      navigate(pathOf(sessionId));
      if (matchMedia(NARROW).matches) setSidebarOpen(false);
    },
    [fresh, setSidebarOpen],
  );

  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (isOfInputMethod(event)) return;
      const isCommand = event.ctrlKey || event.metaKey;
      const isWriting = (event.target as HTMLElement).matches('input, textarea, select, [contenteditable]');
      if (isCommand && event.key.toLowerCase() === 'k') {
        event.preventDefault();
        setSidebarOpen(true);
        if (search.current) search.current.focus();
        else requestAnimationFrame(() => search.current?.focus());
      } else if (isCommand && event.shiftKey && event.key.toLowerCase() === 'o') {
        event.preventDefault();
        open(null);
      } else if (isCommand && event.key === '.') {
        event.preventDefault();
        setFilesOpen((isOpen) => !isOpen);
      } else if (event.key === '?' && !isWriting) setShortcuts(true);
      else if (event.key === 'Escape' && isDrawn) setSidebarOpen(false);
    };
    window.addEventListener('keydown', pressed);
    return () => window.removeEventListener('keydown', pressed);
  }, [open, isDrawn, setSidebarOpen, setFilesOpen]);

  if (error?.status === 401 || error?.status === 403) return <Locked />;
  const id = inPath ?? fresh;
  return (
    <div className={`app${isSidebarOpen ? ' app-sidebar' : ''}${filesAreOpen ? ' app-files' : ''}`}>
      {isSidebarOpen && (
        <Boundary fallback={(failure, again) => <PartFailed what="The list of sessions" error={failure} again={again} />}>
          <Sidebar
            list={list}
            current={inPath}
            searchRef={search}
            version={status?.version ?? ''}
            open={open}
            onClose={() => {
              setSidebarOpen(false);
              requestAnimationFrame(() => document.querySelector<HTMLElement>('.show-sessions')?.focus());
            }}
            onShortcuts={() => setShortcuts(true)}
          />
        </Boundary>
      )}
      {isDrawn && <div className="backdrop" onClick={() => setSidebarOpen(false)} />}
      <div className="stage" inert={isDrawn}>
        <Boundary of={id} fallback={(failure, again) => <PartFailed what="This conversation" error={failure} again={again} />}>
          <SessionView
            key={id}
            id={id}
            isNew={inPath === null || inPath === begun}
            list={list}
            open={open}
            isSidebarOpen={isSidebarOpen}
            openSidebar={() => setSidebarOpen(true)}
            filesAreOpen={filesAreOpen}
            setFilesOpen={setFilesOpen}
          />
        </Boundary>
      </div>
      <Toasts />
      {showsShortcuts && <Shortcuts onClose={() => setShortcuts(false)} />}
    </div>
  );
}

function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const changed = () => setMatches(media.matches);
    media.addEventListener('change', changed);
    return () => media.removeEventListener('change', changed);
  }, [query]);
  return matches;
}

/** A switch that stays as it was left, where the browser keeps it. */
function useKept(name: string, initial: boolean): [boolean, React.Dispatch<React.SetStateAction<boolean>>] {
  const [value, setValue] = useState(() => {
    try {
      const kept = localStorage.getItem(name);
      return kept === null ? initial : kept === 'true';
    } catch {
      return initial;
    }
  });
  useEffect(() => {
    try {
      localStorage.setItem(name, String(value));
    } catch {
      // Then it is not kept.
    }
  }, [name, value]);
  return [value, setValue];
}
