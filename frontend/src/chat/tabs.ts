/** Tells all who show sessions, here and in the other tabs of this browser, what happened. Rule: a hint to look, never the truth itself: that is the server's. */

export type TabNews =
  | { kind: 'session'; sessionId: string }
  | { kind: 'list' };

type Listener = (news: TabNews) => void;

const listeners = new Set<Listener>();
const channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('greenroom');
if (channel)
  channel.onmessage = (event: MessageEvent<TabNews>) => {
    for (const listener of listeners) listener(event.data);
  };

export function tell(news: TabNews): void {
  channel?.postMessage(news);
  for (const listener of listeners) listener(news);
}

export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
