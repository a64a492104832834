import { expect, test } from 'vitest';
import type { UpdatePlan } from '../api/types';
import { concerns } from './concerns';

const harmless: UpdatePlan = {
  losses: [{ kind: 'signatures', text: 'signatures and encrypted reasoning of claude', count: 3 }],
  history_tokens: 900,
  context_window: 128_000,
  fits: true,
  cache_lost_tokens: 900,
  cache_lost_usd: 0.002,
};

test('nobody is asked about what comes back, or costs next to nothing', () => {
  expect(concerns(harmless)).toEqual([]);
  expect(concerns({ ...harmless, fits: null, context_window: null, cache_lost_usd: null })).toEqual([]);
});

test('what does not fit, is lost or costs is said', () => {
  const plan: UpdatePlan = {
    ...harmless,
    losses: [
      { kind: 'notice', text: 'The temperature is not honoured.', count: 1 },
      { kind: 'tools', text: "calls of 'a', which the session would not have", count: 1 },
    ],
    history_tokens: 9_000,
    context_window: 8_192,
    fits: false,
    cache_lost_tokens: 9_000,
    cache_lost_usd: 0.05,
  };
  expect(concerns(plan)).toEqual([
    'The conversation has 9,000 tokens, and this model reads 8,192.',
    'The temperature is not honoured.',
    "The model would find in the conversation calls of 'a', which the session would not have.",
    'The provider has to read 9,000 tokens anew: about $0.05 more for the next answer.',
  ]);
});
