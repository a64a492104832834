/** How long to wait before the next attempt. Rule: quick at first, never more than ten seconds, never in step with other tabs. */

const FIRST_MS = 250;
const MAX_MS = 10_000;

/** `attempt` counts from 0; `chance` is from 0 to 1. */
export function pauseMs(attempt: number, chance: number): number {
  const whole = Math.min(MAX_MS, FIRST_MS * 2 ** attempt);
  return Math.round(whole * (0.75 + 0.25 * chance));
}

/** Waits, but not longer than until something says that trying now makes sense: the network is back, or somebody looks. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      window.removeEventListener('online', done);
      window.removeEventListener('greenroom:retry', done);
      document.removeEventListener('visibilitychange', seen);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const seen = () => {
      if (document.visibilityState === 'visible') done();
    };
    const timer = setTimeout(done, ms);
    window.addEventListener('online', done);
    window.addEventListener('greenroom:retry', done);
    document.addEventListener('visibilitychange', seen);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}

export function retryNow(): void {
  window.dispatchEvent(new Event('greenroom:retry'));
}
