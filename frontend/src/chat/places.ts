/**
 * Which tabs of this browser may follow an answer as it is written. Over HTTP/1.1 a browser opens six connections to a server, for all
 * tabs together: six streams, and nothing else gets through, not even Stop. So the tabs share few places among them: those that were
 * used last have one, those in the background give theirs up, and who gets one back joins its answer again where it is.
 *
 * The tabs tell each other what they want; each works out by itself who comes first, with the same result. A tab that has been closed
 * without a word is forgotten after a while.
 *
 * Rule: who a person is using comes first and starts at once; who hears that others come first gives way.
 */

/** Connections to one server for streams; a browser has six, and what people do needs the others. */
export const PLACES = 4;
/** A tab in the background keeps its place for so long: who looks at another tab for a moment misses nothing. */
const HIDDEN_MS = 10_000;
const TOLD_EVERY_MS = 2_000;
const FORGOTTEN_MS = 7_000;

/** What a tab tells the others. `used` is when a person last did something there; nothing means that it wants no place. */
export interface Want {
  id: string;
  used: number | null;
}

/** Who comes first: the pure part. */
export class Ranking {
  private readonly others = new Map<string, { used: number; heardAt: number }>();

  constructor(private readonly id: string) {}

  /** Takes note of another tab; returns whether it was not known. */
  hear({ id, used }: Want, now: number): boolean {
    if (used === null) {
      this.others.delete(id);
      return false;
    }
    const isNew = !this.others.has(id);
    this.others.set(id, { used, heardAt: now });
    return isNew;
  }

  /** Whether a tab that was used at `used` is among the first. */
  isAmongFirst(used: number, now: number): boolean {
    let before = 0;
    for (const [id, other] of this.others) {
      if (now - other.heardAt > FORGOTTEN_MS) this.others.delete(id);
      else if (other.used > used || (other.used === used && id < this.id)) before += 1;
    }
    return before < PLACES;
  }
}

type Listener = () => void;

class Places {
  private readonly id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  private readonly ranking = new Ranking(this.id);
  private readonly channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('greenroom-places');
  private readonly listeners = new Set<Listener>();
  private used = Date.now();
  private wanting = 0;
  private hiddenAt: number | null = null;

  constructor() {
    if (typeof document === 'undefined' || !this.channel) return;
    this.channel.onmessage = ({ data }: MessageEvent<Want>) => {
      const isNew = this.ranking.hear(data, Date.now());
      if (isNew && this.wanting) this.announce(); // A newcomer does not know who is here.
      this.changed();
    };
    for (const name of ['pointerdown', 'keydown', 'focus'] as const) window.addEventListener(name, () => this.isUsed(), true);
    document.addEventListener('visibilitychange', () => {
      this.hiddenAt = document.visibilityState === 'hidden' ? Date.now() : null;
      if (this.hiddenAt === null) this.isUsed();
    });
    window.addEventListener('pagehide', () => this.tell(null));
    if (document.visibilityState === 'hidden') this.hiddenAt = -Infinity; // Opened in the background.
    setInterval(() => {
      if (!this.wanting) return;
      this.announce();
      this.changed();
    }, TOLD_EVERY_MS);
  }

  /** Whether this tab may follow an answer now. */
  get isFree(): boolean {
    const now = Date.now();
    const isHidden = this.hiddenAt !== null && now - this.hiddenAt > HIDDEN_MS;
    return !isHidden && this.ranking.isAmongFirst(this.used, now);
  }

  /** Wants a place from now on; `onChange` runs whenever it may have been given or taken. Returns the way to want none any more. */
  want(onChange: Listener): () => void {
    this.wanting += 1;
    this.listeners.add(onChange);
    this.announce();
    return () => {
      if (!this.listeners.delete(onChange)) return;
      this.wanting -= 1;
      // Who only goes from waiting to following still wants its place.
      setTimeout(() => this.wanting || this.tell(null), 250);
    };
  }

  private isUsed(): void {
    const now = Date.now();
    if (now - this.used < 500 && this.isFree) return;
    this.used = now;
    if (this.wanting) this.announce();
    this.changed();
  }

  private announce(): void {
    this.tell(this.hiddenAt !== null && Date.now() - this.hiddenAt > HIDDEN_MS ? null : this.used);
  }

  private tell(used: number | null): void {
    this.channel?.postMessage({ id: this.id, used } satisfies Want);
  }

  private changed(): void {
    for (const listener of [...this.listeners]) listener();
  }
}

export const places = new Places();
