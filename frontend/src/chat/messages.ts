/** Messages as the conversation shows them. Rule: pure functions; what they say depends on the messages alone. */
import { type DynamicToolUIPart, type ToolUIPart, type UIMessage, isToolUIPart } from 'ai';

export interface TurnUsage {
  inputTokens?: number;
  outputTokens?: number;
  cachedInputTokens?: number;
  reasoningTokens?: number;
  costUsd?: number;
}

export interface Metadata {
  turnId?: string;
  seq?: number;
  backend?: string;
  model?: string;
  persona?: string;
  configVersion?: number;
  createdAt?: number;
  usage?: TurnUsage;
  /** How the model's last step ended, if not as it should: at the output limit or the end of the context window, by a filter, with a refusal, or for another reason. */
  finishReason?: 'length' | 'context' | 'content-filter' | 'refusal' | 'other';
  /** Output tokens of the last step: where it was cut off. */
  finishTokens?: number;
  outcome?: 'completed' | 'cancelled' | 'failed' | 'interrupted';
  error?: { code: string; message: string; hint?: string };
  queued?: boolean;
  /** Steps (counted from 0) that were broken off and begun anew: not to be shown. */
  voidSteps?: number[];
}

export type Message = UIMessage<Metadata>;
export type Part = Message['parts'][number];
export type ToolPart = ToolUIPart | DynamicToolUIPart;

export function isToolPart(part: Part): part is ToolPart {
  return isToolUIPart(part);
}

/** The parts that count: without those of steps that were begun anew. */
export function partsOf(message: Message): Part[] {
  const isVoid = new Set(message.metadata?.voidSteps);
  if (!isVoid.size) return message.parts;
  let step = -1;
  return message.parts.filter((part) => {
    if (part.type === 'step-start') step += 1;
    return !isVoid.has(step);
  });
}

/** All that was said in words. */
export function textOf(message: Message): string {
  return partsOf(message).flatMap((part) => (part.type === 'text' ? [part.text] : [])).join('\n\n');
}

/** What differs between two answers, in words for a divider; nothing if nothing does. */
export function changeBetween(before: Metadata | undefined, after: Metadata | undefined): string | null {
  if (!before || !after || after.configVersion === undefined || before.configVersion === after.configVersion) return null;
  const said: string[] = [];
  if (after.model !== before.model || after.backend !== before.backend) said.push(modelName(after.backend, after.model));
  if (after.persona !== before.persona && after.persona) said.push(`as ${after.persona}`);
  return said.length ? `Switched to ${said.join(', ')}` : 'Tools or settings changed';
}

export function modelName(backend: string | undefined, model: string | undefined): string {
  if (!model) return backend ?? 'another model';
  return backend && !model.includes(backend) ? `${model} · ${backend}` : model;
}

/** How much of an answer there is: grows while it streams, whatever the parts are. */
export function lengthOf(message: Message): number {
  let length = 0;
  for (const part of message.parts) {
    length += 1;
    if (part.type === 'text' || part.type === 'reasoning') length += part.text.length;
    else if (isToolPart(part)) length += TOOL_PROGRESS[part.state] ?? 0;
  }
  return length;
}

const TOOL_PROGRESS: Record<string, number> = {
  'input-streaming': 0,
  'input-available': 1,
  'approval-requested': 2,
  'approval-responded': 3,
  'output-available': 4,
  'output-error': 4,
  'output-denied': 4,
};

/**
 * What to show while an answer is replayed from its beginning: the answer that was on the screen, until the replay has caught up.
 * An answer that says something else is a new attempt, and is shown at once.
 */
export function heldBack(held: Message | null, next: Message): Message {
  if (!held || held.id !== next.id || lengthOf(next) >= lengthOf(held)) return next;
  return allText(held).startsWith(allText(next)) ? held : next;
}

function allText(message: Message): string {
  return message.parts.map((part) => (part.type === 'text' || part.type === 'reasoning' ? part.text : '')).join('\n');
}

/** Files that tools may have changed: grows by one with every tool that has returned. */
export function toolsReturned(messages: readonly Message[]): number {
  let count = 0;
  for (const message of messages)
    for (const part of message.parts)
      if (isToolPart(part) && (part.state === 'output-available' || part.state === 'output-error')) count += 1;
  return count;
}

export function waitsForApproval(message: Message | undefined): boolean {
  return message?.parts.some((part) => isToolPart(part) && part.state === 'approval-requested') ?? false;
}
