import { describe, expect, it } from 'vitest';
import { mediaTypeOf } from '../composer/attachments';
import { visibleRange } from '../sessions/virtual';
import { kindOf, languageOf } from '../workspace/kinds';
import { bytes, dayGroup, duration, money } from './format';

describe('format', () => {
  it('writes sizes, times and money', () => {
    expect([bytes(12), bytes(2_048), bytes(5 * 1024 * 1024)]).toEqual(['12 B', '2.0 KB', '5.0 MB']);
    expect([duration(0), duration(340), duration(1_500), duration(75_000)]).toEqual(['1 ms', '340 ms', '1.5 s', '1 min 15 s']);
    expect([money(0), money(0.00001), money(0.0023), money(1.5)]).toEqual(['$0', '< $0.0001', '$0.0023', '$1.50']);
  });
  it('groups days', () => {
    const now = new Date(2026, 10, 25, 1);
    expect(dayGroup(new Date(2026, 10, 25, 0), now)).toBe('Today');
    expect(dayGroup(new Date(2026, 10, 24, 23), now)).toBe('Yesterday');
    expect(dayGroup(new Date(2026, 10, 20), now)).toBe('Previous 7 days');
    expect(dayGroup(new Date(2026, 10, 1), now)).toBe('Previous 30 days');
    expect(dayGroup(new Date(2025, 0, 1), now)).toMatch(/2025/);
  });
});

describe('visibleRange', () => {
  it('is small however long the list is', () => {
    const [from, to] = visibleRange(1_000_000, 600, 36, 100_000);
    expect(to - from).toBeLessThan(40);
    expect(from * 36).toBeLessThan(1_000_000);
  });
  it('stays within the list', () => {
    expect(visibleRange(0, 600, 36, 3)).toEqual([0, 3]);
    expect(visibleRange(9_999, 600, 36, 0)).toEqual([0, 0]);
  });
});

describe('files', () => {
  it('are shown by the end of their name', () => {
    expect(['a.PNG', 'a.md', 'a.py', 'a.zip', 'Makefile', '.env', 'a.svg'].map(kindOf)).toEqual([
      'image', 'markdown', 'text', 'other', 'text', 'text', 'text',
    ]);
    expect([languageOf('a.py'), languageOf('a.txt'), languageOf('a.go')]).toEqual(['python', '', 'go']);
  });
  it('have a media type also where the browser knows none', () => {
    expect(mediaTypeOf({ name: 'a.toml', type: '' })).toBe('text/plain');
    expect(mediaTypeOf({ name: 'a.xyz', type: '' })).toBe('application/octet-stream');
    expect(mediaTypeOf({ name: 'a.txt', type: 'text/plain;charset=utf-8' })).toBe('text/plain');
  });
});
