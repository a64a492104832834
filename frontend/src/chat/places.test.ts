/** Case W11 of `front-ends.md` (freenet/freenet-core#5213): the part without a browser. */
import { describe, expect, it } from 'vitest';
import { PLACES, Ranking } from './places';

describe('the places of the tabs', () => {
  it('go to those that were used last, and all tabs agree on who that is', () => {
    const tabs = Array.from({ length: 8 }, (_, at) => ({ id: `tab${at}`, used: 1_000 + at }));
    const first = tabs.filter(({ id, used }) => {
      const ranking = new Ranking(id);
      for (const other of tabs) if (other.id !== id) ranking.hear(other, 5_000);
      return ranking.isAmongFirst(used, 5_000);
    });
    expect(first.map(({ id }) => id)).toEqual(['tab4', 'tab5', 'tab6', 'tab7']);
    expect(first).toHaveLength(PLACES);
  });
  it('are given to exactly so many tabs also where all were used at the same time', () => {
    const ids = Array.from({ length: 8 }, (_, at) => `tab${at}`);
    const first = ids.filter((id) => {
      const ranking = new Ranking(id);
      for (const other of ids) if (other !== id) ranking.hear({ id: other, used: 7 }, 0);
      return ranking.isAmongFirst(7, 0);
    });
    expect(first).toHaveLength(PLACES);
  });
  it('are free again when tabs say that they want none, or are not heard any more', () => {
    const ranking = new Ranking('me');
    for (let at = 0; at < PLACES; at += 1) ranking.hear({ id: `tab${at}`, used: 10 }, 0);
    expect(ranking.isAmongFirst(5, 0)).toBe(false);
    ranking.hear({ id: 'tab0', used: null }, 0);
    expect(ranking.isAmongFirst(5, 0)).toBe(true);
    ranking.hear({ id: 'tab0', used: 10 }, 0);
    expect(ranking.isAmongFirst(5, 60_000)).toBe(true);
  });
  it('greets a newcomer once', () => {
    const ranking = new Ranking('me');
    expect([ranking.hear({ id: 'a', used: 1 }, 0), ranking.hear({ id: 'a', used: 2 }, 1)]).toEqual([true, false]);
  });
});
