/** Messages for a session that is about to be opened. Rule: taken once. */
import type { FileUIPart } from 'ai';

export interface Outgoing {
  text: string;
  files: FileUIPart[];
}

const waiting = new Map<string, Outgoing>();

export function putOut(sessionId: string, message: Outgoing): void {
  waiting.set(sessionId, message);
}

export function takeOut(sessionId: string): Outgoing | undefined {
  const message = waiting.get(sessionId);
  waiting.delete(sessionId);
  return message;
}
