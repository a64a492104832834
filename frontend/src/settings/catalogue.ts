/** What there is to choose from, asked once and shared. Rule: a list that could not be fetched is asked for again at the next look. */
import { useEffect, useState } from 'react';
import { type ApiError, asApiError } from '../api/http';

interface Kept<T> {
  promise: Promise<T> | null;
  value: T | null;
  at: number;
}

const FRESH_MS = 60_000;

/** A list that is asked for when it is first needed, and again when it is older than a minute. */
export function catalogue<T>(fetch: () => Promise<T>): () => { value: T | null; error: ApiError | null; reload: () => void } {
  const kept: Kept<T> = { promise: null, value: null, at: 0 };
  const listeners = new Set<() => void>();
  const load = () => {
    kept.promise ??= fetch()
      .then((value) => {
        kept.value = value;
        kept.at = Date.now();
        for (const listener of listeners) listener();
        return value;
      })
      .finally(() => {
        kept.promise = null;
      });
    return kept.promise;
  };
  return function useCatalogue() {
    const [, redraw] = useState(0);
    const [error, setError] = useState<ApiError | null>(null);
    const reload = () => {
      load().then(
        () => setError(null),
        (failure: unknown) => setError(asApiError(failure)),
      );
    };
    useEffect(() => {
      const listener = () => redraw((count) => count + 1);
      listeners.add(listener);
      if (kept.value === null || Date.now() - kept.at > FRESH_MS) reload();
      return () => {
        listeners.delete(listener);
      };
    }, []);
    return { value: kept.value, error, reload };
  };
}
