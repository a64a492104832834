/**
 * One session, kept in step with the server: the AI SDK's chat, and what the SDK leaves to us. The server is the truth. Whatever
 * happens to the connection, `sync` fetches what there is and follows what still runs; nothing is guessed from the state before.
 *
 * Rule: every stream ends here in one of five ways: the answer is complete, it was refused, this tab left, it gave way to other tabs
 * (see `places`), or the connection was lost; only the last two are followed again.
 */
import { Chat } from '@ai-sdk/react';
import type { FileUIPart } from 'ai';
import { ApiError, asApiError, errorOf } from '../api/http';
import * as api from '../api/routes';
import type { Notice, SessionData, SessionPatch } from '../api/types';
import { pause, pauseMs } from './backoff';
import { type Message, isToolPart, lengthOf, textOf, waitsForApproval } from './messages';
import { places } from './places';
import { listen, tell } from './tabs';
import { SessionTransport } from './transport';

export type Phase = 'new' | 'loading' | 'open' | 'missing';
export type Link = 'up' | 'lost' | 'restored';

export interface SessionState {
  phase: Phase;
  data: SessionData | null;
  link: Link;
  /** A request, a stream or a mending is under way. */
  isBusy: boolean;
  /** A stop was asked for, and the turn has not ended yet. */
  isStopping: boolean;
  /** What the person should know and act on; the composer gives back what was not accepted. */
  error: ApiError | null;
  refused: { text: string; files: FileUIPart[] } | null;
  /** Messages that wait for the running turn. */
  queue: Message[];
  /** Messages that have not reached the server yet. */
  unsent: Message[];
  /** What became of calls of tools, by the id of the call; `null` where that is not known. */
  callEnds: ReadonlyMap<string, api.CallEnd | null>;
  /** The answer is written, and this tab does not follow it: others come first. */
  isAway: boolean;
  /** What a person should know about how the session is answered. */
  notices: Notice[];
}

const POLL_MS = 2_500;
const RESTORED_MS = 2_500;
const STREAM_ERRORS_MAX = 3;
const EMPTY_MS = 300;

/** How a stream ended, as far as this tab knows. A refusal is the server's `ApiError`. */
type Ending = 'complete' | 'lost' | 'left' | 'gave way' | ApiError;

/** A message on its way: until the first byte of its answer it may not have arrived. */
interface Outgoing {
  message: Message;
  settings: SessionPatch;
}

export class SessionChat {
  readonly chat: Chat<Message>;
  private state: SessionState;
  private readonly listeners = new Set<() => void>();
  private leaving = new AbortController();
  private ending: Ending = 'complete';
  private streamError: string | null = null;
  private bytes = 0;
  private gaveWay = false;
  private work: Promise<void> = Promise.resolve();
  private seenSeq = -1;
  /** The texts of notices that a person has dismissed: some come with every answer, and are shown once. */
  private readonly dismissed = new Set<string>();

  constructor(
    readonly id: string,
    isNew: boolean,
    private readonly onData: (data: SessionData) => void,
  ) {
    this.state = {
      phase: isNew ? 'new' : 'loading',
      data: null,
      link: 'up',
      isBusy: false,
      isStopping: false,
      error: null,
      refused: null,
      queue: [],
      unsent: [],
      notices: [],
      isAway: false,
      callEnds: new Map(),
    };
    this.chat = new Chat<Message>({
      id,
      transport: new SessionTransport(() => this.heard()),
      onError: (error) => this.failed(error),
      onData: (part) => {
        if (part.type === 'data-notice') this.notice(part.data);
      },
      onFinish: ({ isAbort }) => {
        if (isAbort) this.ending = 'left';
      },
    });
  }

  // --- for React --------------------------------------------------------------------------------------------------------

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  snapshot = (): SessionState => this.state;

  /** Begins to keep in step; returns the way to end it. */
  start(): () => void {
    this.leaving = new AbortController();
    const look = () => {
      if (document.visibilityState === 'visible') void this.look();
    };
    const unlisten = listen((news) => {
      if (news.kind === 'session' && news.sessionId === this.id) void this.look();
    });
    const poller = setInterval(look, POLL_MS);
    document.addEventListener('visibilitychange', look);
    window.addEventListener('online', look);
    if (this.state.phase === 'loading') this.run(() => this.follow(null));
    return () => {
      clearInterval(poller);
      unlisten();
      document.removeEventListener('visibilitychange', look);
      window.removeEventListener('online', look);
      this.leaving.abort();
      void this.chat.stop(); // Ends our reading only: the turn goes on.
    };
  }

  // --- what a person does -----------------------------------------------------------------------------------------------

  /** Whether the last answer waits for a person's decision. */
  get isWaiting(): boolean {
    return waitsForApproval(this.chat.messages.at(-1));
  }

  /** Sends a message. While an answer runs it waits in the session's queue; while the server is not there, here. */
  send(text: string, files: FileUIPart[], settings: SessionPatch): void {
    this.set({ error: null, refused: null });
    const parts = [...files, ...(text ? [{ type: 'text' as const, text }] : [])];
    const message: Message = { id: newId('m'), role: 'user', parts, metadata: { createdAt: Date.now() } };
    const isAnswering = this.chat.status === 'submitted' || this.chat.status === 'streaming';
    const isTaken = this.isWaiting || (this.state.isBusy && (isAnswering || this.state.isAway));
    if (isTaken || this.state.isBusy) this.set({ unsent: [...this.state.unsent, message] });
    if (isTaken && this.state.link !== 'lost') {
      void this.enqueue(message);
      return;
    }
    this.run(() => {
      this.unsentIsOver(message);
      return this.follow(() => this.chat.sendMessage(message, { body: settings }), { message, settings });
    });
  }

  edit(messageId: string, text: string): void {
    const message = this.chat.messages.find((each) => each.id === messageId);
    const files = message?.parts.filter((part) => part.type === 'file') ?? [];
    const parts = [...files, { type: 'text' as const, text }];
    this.set({ error: null });
    this.run(async () => {
      await this.follow(() => this.chat.sendMessage({ parts, messageId, metadata: { createdAt: Date.now() } }));
      const isThere = this.chat.messages.some((each) => each.role === 'user' && textOf(each) === text);
      if (isThere || this.leaving.signal.aborted || this.state.error) return;
      const error = new ApiError('not_sent', 'The changed message did not arrive', 'It is below again: send it once more.', 0);
      this.set({ error, refused: { text, files } });
    });
  }

  retry(messageId: string): void {
    this.set({ error: null });
    this.run(() => this.follow(() => this.chat.regenerate({ messageId })));
  }

  async stop(): Promise<void> {
    this.set({ isStopping: true });
    try {
      await api.stopChat(this.id);
      if (!this.state.isBusy) this.reload(); // It waited for a decision: there is no stream that would say so.
    } catch (error) {
      this.set({ isStopping: false, error: asApiError(error) });
    }
  }

  /** Takes a message back that waits; it is in the composer again. `isNow` gives its words to the running answer instead. */
  async takeBack(message: Message, isNow: boolean): Promise<void> {
    const turnId = message.metadata?.turnId;
    if (turnId === undefined) return;
    try {
      await api.withdraw(this.id, turnId);
      this.set({ queue: this.state.queue.filter((each) => each.id !== message.id) });
    } catch (error) {
      this.set({ error: asApiError(error) });
      return;
    }
    const kept = { text: textOf(message), files: filesOf(message) };
    try {
      if (isNow) await api.steer(this.id, kept.text);
      else this.set({ refused: kept });
    } catch (error) {
      this.set({ error: asApiError(error), refused: kept });
    }
    tell({ kind: 'session', sessionId: this.id });
  }

  async update(patch: SessionPatch): Promise<void> {
    this.learn(await api.patchSession(this.id, patch));
    tell({ kind: 'session', sessionId: this.id });
  }

  async decide(approvalId: string, decision: Parameters<typeof api.decideApproval>[2]): Promise<void> {
    await api.decideApproval(this.id, approvalId, decision);
    tell({ kind: 'session', sessionId: this.id });
    this.reload();
  }

  dismissNotice = (text: string): void => {
    this.dismissed.add(text);
    this.set({ notices: this.state.notices.filter((notice) => notice.text !== text) });
  };

  dismiss = (): void => this.set({ error: null, refused: null });

  reload = (): void => {
    if (!this.state.isBusy) this.run(() => this.follow(null));
  };

  // --- in step with the server ------------------------------------------------------------------------------------------

  /**
   * Makes a request, if there is one, and follows the session until nothing runs any more. A lost connection is mended here: look
   * what there is, as soon as the server answers again; say again what never arrived; read on.
   */
  private async follow(request: (() => Promise<void>) | null, outgoing: Outgoing | null = null): Promise<void> {
    let next = request;
    let unsent = outgoing;
    let failures = 0;
    while (!this.leaving.signal.aborted) {
      if (next) {
        const ending = await this.stream(next);
        next = null;
        if (ending === 'left') return;
        if (this.bytes > 0) unsent = null;
        if (ending instanceof ApiError && !ending.isWeather) return this.refuse(ending, unsent);
        if (ending === 'gave way') {
          // What there is now, and a place to follow it from, is found below.
        } else if (ending !== 'complete') {
          await this.wait(failures++);
        } else if (this.bytes === 0) {
          await pause(EMPTY_MS, this.leaving.signal); // Nothing to read (any more): look again, but not at once.
        } else if (this.streamError !== null && (failures += 1) > STREAM_ERRORS_MAX) {
          throw new ApiError('bad_stream', this.streamError, 'Reload the page; the session itself is safe.', -1);
        }
      }
      try {
        if (unsent) {
          // The same id again: should it have arrived after all, it is not said twice.
          const { message, settings } = unsent;
          await api.getStatus();
          this.chat.messages = this.chat.messages.filter((each) => each.id !== message.id);
          next = () => this.chat.sendMessage(message, { body: settings });
        } else {
          const isActive = await this.sync();
          if (isActive && !places.isFree) {
            await this.waitForPlace();
            continue;
          }
          next = isActive ? () => this.chat.resumeStream() : null;
        }
        this.restored();
        if (this.streamError === null) failures = 0;
      } catch (error) {
        const known = asApiError(error);
        if (known.status === 404 && !outgoing) return this.set({ phase: 'missing', link: 'up' });
        if (!known.isWeather) throw known;
        await this.wait(failures++);
        continue;
      }
      if (!next) return;
    }
  }

  private async stream(start: () => Promise<void>): Promise<Ending> {
    this.ending = 'complete';
    this.streamError = null;
    this.bytes = 0;
    this.gaveWay = false;
    const release = places.want(() => this.giveWay());
    try {
      await start();
    } finally {
      release();
    }
    if (this.leaving.signal.aborted) return 'left';
    return this.gaveWay ? 'gave way' : this.ending;
  }

  /** Ends our reading when other tabs come first; not before it is known that a message has arrived. */
  private giveWay(): void {
    if (places.isFree || this.bytes === 0 || this.gaveWay) return;
    this.gaveWay = true;
    void this.chat.stop();
  }

  /** Waits until this tab may follow the answer, or the answer is over. */
  private async waitForPlace(): Promise<void> {
    const signal = this.leaving.signal;
    this.set({ isAway: true });
    let wake: () => void = () => undefined;
    const woken = () => wake();
    const release = places.want(woken);
    signal.addEventListener('abort', woken);
    try {
      while (!signal.aborted && !places.isFree) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, POLL_MS);
          wake = () => {
            if (!signal.aborted && !places.isFree) return;
            clearTimeout(timer);
            resolve();
          };
        });
        if (signal.aborted || document.visibilityState !== 'visible') continue;
        const data = await api.getSession(this.id, signal);
        this.learn(data, false);
        if (data.status !== 'running') return;
      }
    } finally {
      release();
      signal.removeEventListener('abort', woken);
      this.set({ isAway: false });
    }
  }

  private async wait(attempt: number): Promise<void> {
    this.set({ link: 'lost' });
    await pause(pauseMs(attempt, Math.random()), this.leaving.signal);
  }

  private restored(): void {
    if (this.state.link !== 'lost') return;
    this.set({ link: 'restored' });
    setTimeout(() => this.state.link === 'restored' && this.set({ link: 'up' }), RESTORED_MS);
  }

  /** Shows what the server has; returns whether there is an answer to follow. */
  private async sync(): Promise<boolean> {
    const signal = this.leaving.signal;
    const [{ messages, active }, data] = await Promise.all([
      api.chatMessages(this.id, signal),
      api.getSession(this.id, signal),
    ]);
    const told = merged(
      this.chat.messages,
      messages.filter((message) => !message.metadata?.queued),
    );
    // An answer that is being written comes with its stream; what is on the screen of it stays until then.
    const writing = active ? this.chat.messages.find((message) => isAnswerTo(message, told.at(-1))) : undefined;
    this.chat.messages = writing ? [...told, writing] : told;
    this.set({ phase: 'open', queue: messages.filter((message) => message.metadata?.queued) });
    this.learn(data);
    void this.measure(told);
    return active && !waitsForApproval(told.at(-1));
  }

  /** Fetches what became of tools, if there is one of which that is not known. */
  private async measure(messages: readonly Message[]): Promise<void> {
    const calls = messages.flatMap((message) => message.parts.filter(isToolPart).map((part) => part.toolCallId));
    if (calls.every((id) => this.state.callEnds.has(id))) return;
    try {
      const told = await api.callEnds(this.id, this.leaving.signal);
      this.set({ callEnds: new Map([...calls.map((id) => [id, null] as const), ...told]) });
    } catch {
      // Then the cards do without; the next look tries again.
    }
  }

  /** Asks, cheaply, whether anything has changed; also while an answer runs, for what its stream does not tell. */
  private async look(): Promise<void> {
    if (this.state.phase !== 'open') return;
    try {
      const data = await api.getSession(this.id, this.leaving.signal);
      if (this.state.isBusy) {
        this.learn(data);
        if (this.state.queue.length) await this.refreshQueue();
        return;
      }
      this.restored();
      if (data.last_seq !== this.seenSeq) this.run(() => this.follow(null));
    } catch (error) {
      const known = asApiError(error);
      if (this.leaving.signal.aborted || this.state.isBusy) return;
      if (known.status === 404) this.set({ phase: 'missing' });
      else if (known.isWeather) this.run(() => this.follow(null));
      else this.set({ error: known });
    }
  }

  /** Puts a message into the session's queue, however long the server is away: with the same key it is not said twice. */
  private async enqueue(message: Message): Promise<void> {
    const files = filesOf(message);
    const attachments = files.map((file) => ({
      name: file.filename ?? '',
      media_type: file.mediaType,
      data: file.url.slice(file.url.indexOf(',') + 1),
    }));
    for (let attempt = 0; !this.leaving.signal.aborted; attempt += 1) {
      try {
        await api.queueMessage(this.id, textOf(message), attachments, message.id);
        await this.refreshQueue();
        break;
      } catch (error) {
        const known = asApiError(error);
        if (!known.isWeather) {
          this.set({ error: known, refused: { text: textOf(message), files } });
          break;
        }
        await pause(pauseMs(attempt, Math.random()), this.leaving.signal);
      }
    }
    this.unsentIsOver(message);
    this.reload(); // The answer may have ended meanwhile.
  }

  private unsentIsOver(message: Message): void {
    this.set({ unsent: this.state.unsent.filter((each) => each !== message) });
  }

  private async refreshQueue(): Promise<void> {
    const { messages } = await api.chatMessages(this.id, this.leaving.signal);
    this.set({ queue: messages.filter((message) => message.metadata?.queued) });
  }

  // --- what the streams say ---------------------------------------------------------------------------------------------

  private heard(): void {
    this.bytes += 1;
    if (this.bytes > 1) return;
    this.giveWay();
    this.restored();
    this.set({ phase: 'open' });
    tell({ kind: 'session', sessionId: this.id });
    // Who it is set to, and its name, as soon as the server has it.
    api.getSession(this.id, this.leaving.signal).then(
      (data) => this.learn(data, false),
      () => undefined, // The end of the stream asks again.
    );
  }

  private notice(data: unknown): void {
    const { code, text } = data as { code?: unknown; text?: unknown };
    if (typeof code !== 'string' || typeof text !== 'string') return;
    // By text, not by code: two files that were left out are two notices.
    if (this.dismissed.has(text) || this.state.notices.some((notice) => notice.text === text)) return;
    this.set({ notices: [...this.state.notices, { code, text }] });
  }

  private failed(error: Error): void {
    if ('statusCode' in error && typeof error.statusCode === 'number') {
      const body = 'responseBody' in error && typeof error.responseBody === 'string' ? error.responseBody : error.message;
      this.ending = errorOf(error.statusCode, body);
    } else if (error instanceof TypeError) {
      this.ending = 'lost';
    } else {
      this.streamError = error.message; // The turn failed: what the server keeps of it says why.
    }
  }

  private refuse(error: ApiError, unsent: Outgoing | null): Promise<void> | void {
    this.chat.clearError();
    if (!unsent) {
      this.set({ error });
      return this.follow(null);
    }
    const { message } = unsent;
    this.chat.messages = this.chat.messages.filter((each) => each.id !== message.id);
    this.set({ error, refused: { text: textOf(message), files: filesOf(message) } });
  }

  private learn(data: SessionData, isInStep = true): void {
    if (isInStep) this.seenSeq = data.last_seq;
    this.set({ data });
    this.onData(data);
  }

  // --- bookkeeping ------------------------------------------------------------------------------------------------------

  /** One thing at a time. */
  private run(task: () => Promise<void>): void {
    this.set({ isBusy: true });
    const work = this.work.then(task).catch((error: unknown) => {
      if (!this.leaving.signal.aborted) this.set({ error: asApiError(error), link: 'up' });
    });
    this.work = work;
    void work.then(() => {
      if (this.work === work) this.set({ isBusy: false, isStopping: false });
    });
  }

  private set(change: Partial<SessionState>): void {
    this.state = { ...this.state, ...change };
    for (const listener of this.listeners) listener();
  }
}

/** The server's messages; those that have not changed stay the same objects, so that nothing is drawn again. */
export function merged(old: readonly Message[], fresh: readonly Message[]): Message[] {
  const known = new Map(old.map((message) => [message.id, message]));
  return fresh.map((message) => {
    const before = known.get(message.id);
    return before && isSame(before, message) ? before : message;
  });
}

function isSame(a: Message, b: Message): boolean {
  return lengthOf(a) === lengthOf(b) && JSON.stringify(a.metadata) === JSON.stringify(b.metadata);
}

const filesOf = (message: Message): FileUIPart[] => message.parts.filter((part) => part.type === 'file');

function isAnswerTo(message: Message, question: Message | undefined): boolean {
  const turnId = question?.role === 'user' ? question.metadata?.turnId : undefined;
  return message.role === 'assistant' && turnId !== undefined && message.metadata?.turnId === turnId;
}

/** An id that nobody else has; also where the page is not a secure context. */
export function newId(kind: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `${kind}-${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}
