import { describe, expect, it, vi } from 'vitest';
import { pauseMs } from './backoff';
import { guard } from './transport';

const body = (...pieces: string[]) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
      controller.close();
    },
  });

describe('guard', () => {
  it('passes on a stream that ends as it should', async () => {
    const text = await new Response(guard(body('data: {}\n\n', 'data: [DO', 'NE]\n\n'), () => undefined, 1_000)).text();
    expect(text).toBe('data: {}\n\ndata: [DONE]\n\n');
  });

  it('fails a stream that ends early, as a lost connection', async () => {
    await expect(new Response(guard(body('data: {}\n\n'), () => undefined, 1_000)).text()).rejects.toThrow(/network/);
  });

  it('fails a stream that has gone silent', async () => {
    vi.useFakeTimers();
    const silent = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => undefined) });
    const read = guard(silent, () => undefined, 1_000).getReader().read();
    const failed = expect(read).rejects.toThrow(/network/);
    await vi.advanceTimersByTimeAsync(2_000);
    await failed;
    vi.useRealTimers();
  });

  it('tells that something was heard', async () => {
    const heard = vi.fn();
    await new Response(guard(body('a', 'data: [DONE]\n\n'), heard, 1_000)).text();
    expect(heard).toHaveBeenCalledTimes(2);
  });
});

describe('pauseMs', () => {
  it('grows, and has an end', () => {
    expect(pauseMs(0, 1)).toBe(250);
    expect(pauseMs(3, 1)).toBe(2_000);
    expect(pauseMs(40, 1)).toBe(10_000);
    expect(pauseMs(40, 0)).toBe(7_500);
  });
});
