import { describe, expect, it } from 'vitest';
import { type Message, changeBetween, heldBack, partsOf, textOf, toolsReturned, waitsForApproval } from './messages';
import { merged } from './session-chat';

const answer = (text: string, more: Partial<Message> = {}): Message => ({
  id: 't1-answer',
  role: 'assistant',
  parts: [{ type: 'text', text }],
  ...more,
});

describe('changeBetween', () => {
  const before = { backend: 'openai', model: 'gpt-4o', persona: 'default', configVersion: 1 };
  it('says nothing when nothing changed', () => {
    expect(changeBetween(before, { ...before })).toBeNull();
    expect(changeBetween(undefined, before)).toBeNull();
  });
  it('names model and persona', () => {
    expect(changeBetween(before, { backend: 'claude', model: 'opus', persona: 'tutor', configVersion: 2 })).toBe(
      'Switched to opus · claude, as tutor',
    );
  });
  it('says that something else changed', () => {
    expect(changeBetween(before, { ...before, configVersion: 2 })).toBe('Tools or settings changed');
  });
});

describe('heldBack', () => {
  it('keeps what was shown while a replay catches up', () => {
    const held = answer('Hello, world');
    expect(heldBack(held, answer('Hel'))).toBe(held);
    const longer = answer('Hello, world, and more');
    expect(heldBack(held, longer)).toBe(longer);
  });
  it('shows another answer, and another attempt, at once', () => {
    const held = answer('Hello, world');
    const other = answer('Hel', { id: 't2-answer' });
    expect(heldBack(held, other)).toBe(other);
    const attempt = answer('Good');
    expect(heldBack(held, attempt)).toBe(attempt);
  });
});

describe('partsOf', () => {
  it('leaves out the steps that were begun anew', () => {
    const message = answer('', {
      metadata: { voidSteps: [0] },
      parts: [{ type: 'step-start' }, { type: 'text', text: 'void' }, { type: 'step-start' }, { type: 'text', text: 'valid' }],
    });
    expect(partsOf(message)).toHaveLength(2);
    expect(textOf(message)).toBe('valid');
  });
});

describe('tools', () => {
  const call = { type: 'dynamic-tool', toolName: 'roll', toolCallId: 'c1', input: {} } as const;
  it('are counted when they have returned', () => {
    const message = answer('', { parts: [{ ...call, state: 'output-available', output: '4' }, { ...call, state: 'input-available' }] });
    expect(toolsReturned([message])).toBe(1);
  });
  it('wait for a person', () => {
    const message = answer('', { parts: [{ ...call, state: 'approval-requested', approval: { id: 'a1' } }] });
    expect(waitsForApproval(message)).toBe(true);
    expect(waitsForApproval(answer('x'))).toBe(false);
  });
});

describe('merged', () => {
  it('keeps the objects of what has not changed', () => {
    const old = [answer('one', { id: 'a' }), answer('two', { id: 'b' })];
    const [first, second] = merged(old, [answer('one', { id: 'a' }), answer('two, longer', { id: 'b' })]);
    expect(first).toBe(old[0]);
    expect(second).not.toBe(old[1]);
  });
});
