/** The URL is the session: `/` is a new conversation, `/s/{id}` is a session. */
import { useSyncExternalStore } from 'react';

export function sessionIn(path: string): string | null {
  const found = /^\/s\/([^/]+)\/?$/.exec(path);
  if (!found?.[1]) return null;
  try {
    return decodeURIComponent(found[1]);
  } catch {
    return found[1]; // Not an id that we made; the server will say that there is no such session.
  }
}

export const pathOf = (sessionId: string | null): string => (sessionId === null ? '/' : `/s/${encodeURIComponent(sessionId)}`);

const listeners = new Set<() => void>();
window.addEventListener('popstate', () => {
  for (const listener of listeners) listener();
});

export function navigate(path: string, how: 'push' | 'replace' = 'push'): void {
  if (path === location.pathname) return;
  history[how === 'push' ? 'pushState' : 'replaceState'](null, '', path);
  for (const listener of listeners) listener();
}

export function usePath(): string {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => location.pathname,
  );
}
