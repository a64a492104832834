/**
 * The way to the server's AI SDK routes, made honest: the SDK takes a stream that ends early for a finished answer, and never notices
 * one that has gone silent. Here both are a lost connection, which the session then mends.
 *
 * Rule: only the last message is sent; the server has the others.
 */
import { DefaultChatTransport } from 'ai';
import type { Message } from './messages';

/** The server says something every 15 s; after this long without a byte nobody is there. */
export const SILENCE_MS = 40_000;
const LOST = 'network connection lost';
const END = 'data: [DONE]';

export class SessionTransport extends DefaultChatTransport<Message> {
  constructor(onBytes: () => void = () => undefined) {
    super({
      api: '/api/chat',
      headers: { 'x-ai-sdk-version': '7' }, // We know how to take a step back.
      fetch: (input, init) => guardedFetch(input, init, onBytes),
      prepareSendMessagesRequest: ({ id, messages, body, trigger, messageId }) => ({
        body: {
          ...body,
          id,
          messages: messages.slice(-1),
          trigger,
          ...(messageId === undefined ? {} : { messageId }),
        },
      }),
    });
  }
}

async function guardedFetch(input: RequestInfo | URL, init: RequestInit | undefined, onBytes: () => void): Promise<Response> {
  const response = await fetch(input, init);
  const isStream = response.headers.get('content-type')?.includes('text/event-stream') ?? false;
  if (!response.ok || !response.body || !isStream) return response;
  return new Response(guard(response.body, onBytes, SILENCE_MS), { status: response.status, headers: response.headers });
}

/** Passes a stream on; fails it when it ends without its end mark, or when nothing has come for `silenceMs`. */
export function guard(
  body: ReadableStream<Uint8Array>,
  onBytes: () => void,
  silenceMs: number,
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let tail = '';
  let heardAt = Date.now();
  let fail: (error: Error) => void = () => undefined;
  // A machine that slept has missed its timers: the clock decides, and it is also asked when somebody is back.
  const check = () => {
    if (Date.now() - heardAt < silenceMs) return;
    stop();
    fail(new TypeError(LOST));
    void reader.cancel().catch(() => undefined);
  };
  const timer = setInterval(check, Math.min(silenceMs, 5_000));
  if (typeof document !== 'undefined') document.addEventListener('visibilitychange', check);
  const stop = () => {
    clearInterval(timer);
    if (typeof document !== 'undefined') document.removeEventListener('visibilitychange', check);
  };
  return new ReadableStream<Uint8Array>({
    start(controller) {
      fail = (error) => controller.error(error);
    },
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) {
          stop();
          if (tail.includes(END)) controller.close();
          else controller.error(new TypeError(LOST));
          return;
        }
        heardAt = Date.now();
        onBytes();
        tail = (tail + new TextDecoder().decode(value.slice(-64))).slice(-64);
        controller.enqueue(value);
      } catch (error) {
        stop();
        controller.error(error);
      }
    },
    cancel(reason) {
      stop();
      return reader.cancel(reason);
    },
  });
}
