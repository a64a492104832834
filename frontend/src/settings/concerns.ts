/** What a person should know before a live session changes. Rule: nobody is asked about what nobody would mind. */
import type { UpdatePlan } from '../api/types';
import { count, money } from '../ui/format';

const COST_MIN_USD = 0.01;

/** What speaks against a change, a sentence each; nothing if it is simply to be made. */
export function concerns(plan: UpdatePlan): string[] {
  const { losses, fits, context_window: window, history_tokens: tokens, cache_lost_tokens: again, cache_lost_usd: usd } = plan;
  const found: string[] = [];
  if (fits === false && window !== null) {
    found.push(`The conversation has ${count(tokens)} tokens, and this model reads ${count(window)}.`);
  }
  found.push(...losses.filter((loss) => loss.kind === 'notice').map((loss) => loss.text));
  const gone = losses.filter((loss) => loss.kind === 'tools').map((loss) => loss.text);
  if (gone.length) found.push(`The model would find in the conversation ${gone.join(', and ')}.`);
  if (usd !== null && usd >= COST_MIN_USD) {
    found.push(`The provider has to read ${count(again)} tokens anew: about ${money(usd)} more for the next answer.`);
  }
  return found;
}
