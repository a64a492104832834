/**
 * The sessions, as far as they have been scrolled to: pages of the server's listing, newest first, under the headings of their days.
 * Rule: the server's order is the order; what is only changed here (a deletion that can be undone) is a filter over it.
 */
import { type ApiError, asApiError } from '../api/http';
import { deleteSession, listSessions } from '../api/routes';
import type { SessionData } from '../api/types';
import { listen, tell } from '../chat/tabs';
import { dayGroup } from '../ui/format';

export type Item = { kind: 'heading'; text: string } | { kind: 'session'; session: SessionData };

export interface ListState {
  query: string;
  items: readonly Item[];
  isLoading: boolean;
  isWhole: boolean;
  error: ApiError | null;
}

const PAGE = 100;
const REFRESH_MS = 10_000;

export class SessionList {
  private state: ListState = { query: '', items: [], isLoading: true, isWhole: false, error: null };
  private sessions: SessionData[] = [];
  private cursor: string | null = null;
  private readonly leaving = new Set<string>();
  private readonly listeners = new Set<() => void>();
  private request: AbortController | null = null;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  snapshot = (): ListState => this.state;

  start(): () => void {
    void this.fetch(null);
    const timer = setInterval(() => document.visibilityState === 'visible' && void this.refresh(), REFRESH_MS);
    const unlisten = listen(() => void this.refresh());
    const leave = () => {
      for (const id of this.leaving) void deleteSession(id, true).catch(() => undefined);
    };
    window.addEventListener('pagehide', leave);
    return () => {
      clearInterval(timer);
      unlisten();
      window.removeEventListener('pagehide', leave);
    };
  }

  search(query: string): void {
    this.set({ query });
    void this.fetch(null);
  }

  more(): void {
    if (!this.state.isLoading && !this.state.isWhole && !this.state.error) void this.fetch(this.cursor);
  }

  retry(): void {
    void this.fetch(this.sessions.length ? this.cursor : null);
  }

  /** Takes over what is known of a session; a new or changed one stands at the top. */
  learn(data: SessionData): void {
    const at = this.sessions.findIndex((each) => each.session_id === data.session_id);
    const before = this.sessions[at];
    if (!before && this.state.query) return;
    if (before && before.updated_at === data.updated_at) {
      if (before.title === data.title && before.status === data.status) return;
      this.sessions = this.sessions.with(at, data);
    } else {
      this.sessions = [data, ...this.sessions.filter((each) => each.session_id !== data.session_id)];
    }
    this.rebuild();
  }

  /** Takes a session out of sight; `forget` deletes it, `bringBack` does not. */
  hide(id: string): void {
    this.leaving.add(id);
    this.rebuild();
  }

  bringBack(id: string): void {
    this.leaving.delete(id);
    this.rebuild();
  }

  async forget(id: string): Promise<void> {
    if (!this.leaving.has(id)) return;
    try {
      await deleteSession(id);
      this.sessions = this.sessions.filter((each) => each.session_id !== id);
      tell({ kind: 'list' });
    } finally {
      this.leaving.delete(id);
      this.rebuild();
    }
  }

  /** Fetches the first page again and puts it in front of what is there. */
  async refresh(): Promise<void> {
    if (this.request) return;
    const { query } = this.state;
    try {
      const page = await listSessions(query, null, PAGE, new AbortController().signal);
      if (query !== this.state.query || this.request) return;
      const fresh = new Set(page.sessions.map((each) => each.session_id));
      const oldest = page.sessions.at(-1)?.updated_at ?? '';
      // Behind the first page nothing has changed; what was on it and is gone was deleted elsewhere.
      const rest = page.cursor === null ? [] : this.sessions.filter((each) => !fresh.has(each.session_id) && each.updated_at <= oldest);
      this.sessions = [...page.sessions, ...rest];
      if (!rest.length) this.cursor = page.cursor;
      this.set({ isWhole: this.cursor === null, error: null });
      this.rebuild();
    } catch {
      // The next look, or the conversation's banner, says what is wrong.
    }
  }

  private async fetch(cursor: string | null): Promise<void> {
    this.request?.abort();
    const request = new AbortController();
    this.request = request;
    this.set({ isLoading: true, error: null });
    try {
      const page = await listSessions(this.state.query, cursor, PAGE, request.signal);
      if (request.signal.aborted) return;
      this.cursor = page.cursor;
      this.request = null;
      if (cursor === null) {
        this.sessions = page.sessions;
        this.rebuild();
      } else {
        const known = new Set(this.sessions.map((each) => each.session_id));
        const added = page.sessions.filter((each) => !known.has(each.session_id));
        this.sessions = [...this.sessions, ...added];
        this.append(added);
      }
      this.set({ isLoading: false, isWhole: page.cursor === null });
    } catch (error) {
      if (request.signal.aborted) return;
      this.request = null;
      this.set({ isLoading: false, error: asApiError(error) });
    }
  }

  private rebuild(): void {
    this.state = { ...this.state, items: [] };
    this.append(this.sessions);
  }

  private append(sessions: readonly SessionData[]): void {
    const items = [...this.state.items];
    const now = new Date();
    let heading = items.findLast((item) => item.kind === 'heading')?.text;
    for (const session of sessions) {
      if (this.leaving.has(session.session_id)) continue;
      const group = dayGroup(new Date(session.updated_at), now);
      if (group !== heading) items.push({ kind: 'heading', text: group });
      heading = group;
      items.push({ kind: 'session', session });
    }
    this.set({ items });
  }

  private set(change: Partial<ListState>): void {
    this.state = { ...this.state, ...change };
    for (const listener of this.listeners) listener();
  }
}
