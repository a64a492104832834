/** Requests and their errors. Rule: whatever fails becomes an `ApiError` that says what happened and what can be done. */

export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly hint: string | undefined,
    /** HTTP status; 0 when the server was not reached. */
    readonly status: number,
  ) {
    super(message);
    this.name = 'ApiError';
  }

  /** The server was not there, or not ready: asking again later may help. */
  get isWeather(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: 'same-origin', ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError('unreachable', 'Greenroom does not answer', 'Is `greenroom serve` still running?', 0);
  }
  if (!response.ok) throw errorOf(response.status, await response.text());
  return response;
}

export async function json<T>(path: string, init: RequestInit = {}): Promise<T> {
  const response = await request(path, init);
  return (await response.json()) as T;
}

export function send<T>(method: string, path: string, body: unknown): Promise<T> {
  return json<T>(path, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

/** Reads the server's `{"error": {...}}`, or makes the best of what a proxy said instead. */
export function errorOf(status: number, text: string): ApiError {
  try {
    const error: unknown = (JSON.parse(text) as { error?: unknown }).error;
    if (typeof error === 'object' && error !== null && 'message' in error) {
      const { code, message, hint } = error as { code?: unknown; message: unknown; hint?: unknown };
      return new ApiError(
        typeof code === 'string' ? code : `http_${status}`,
        String(message),
        typeof hint === 'string' ? hint : undefined,
        status,
      );
    }
  } catch {
    // Not our JSON: said below.
  }
  return new ApiError(`http_${status}`, `The server answered with status ${status}`, undefined, status);
}

export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ApiError('unexpected', message, undefined, -1);
}
