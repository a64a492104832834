import { describe, expect, it } from 'vitest';
import { type Cut, cut } from './blocks';

const LONG = [
  '# Title\n\nA paragraph\nof two lines.\n\n',
  '- one\n\n  still one\n- two\n\n',
  'After the list.\n\n```python\nprint(1)\n\nprint(2)\n```\n',
  '| a | b |\n|---|---|\n| 1 | 2 |\n\n> quoted\n> text\n\n',
  '1. first\n   ```js\n   inner()\n   ```\n2. second\n\n~~~\n```\n~~~\n\nThe end.',
].join('');

function grown(text: string, step: number): Cut {
  let at: Cut = { text: '', blocks: [] };
  for (let end = step; end < text.length + step; end += step) at = cut(text.slice(0, end), at);
  return at;
}

describe('cut', () => {
  it('keeps every character, in order', () => {
    expect(
      cut(LONG)
        .blocks.map((block) => block.text)
        .join(''),
    ).toBe(LONG);
  });

  it.each([1, 2, 3, 7, 50])('gives the same blocks however the text has grown (by %i)', (step) => {
    expect(grown(LONG, step).blocks).toEqual(cut(LONG).blocks);
  });

  it('takes code out of its fences, with blank lines, and knows when it is still open', () => {
    const [code] = cut('```py title="x"\na\n\nb\n').blocks;
    expect(code).toMatchObject({ kind: 'code', lang: 'py', code: 'a\n\nb\n', isOpen: true });
    const [closed] = cut('```py\na\n\nb\n```').blocks;
    expect(closed).toMatchObject({ code: 'a\n\nb', isOpen: false });
  });

  it('does not take a shorter or another fence for the end', () => {
    expect(cut('````\n```\n~~~\n````').blocks).toHaveLength(1);
  });

  it('keeps a list together, and code within a list in the list', () => {
    const text = '1. a\n\n   ```sh\n   ls\n   ```\n\n2. b\n';
    expect(cut(text).blocks).toHaveLength(1);
  });

  it('cuts a list that is very long', () => {
    const text = Array.from({ length: 1_000 }, (_, at) => `- item number ${at}\n`).join('');
    const { blocks } = cut(text);
    expect(blocks.length).toBeGreaterThan(3);
    expect(blocks.every((block) => block.text.startsWith('- '))).toBe(true);
  });

  it('does not cut what definitions hold together', () => {
    expect(cut('See [a] and this[^1].\n\nMore.\n\n[a]: https://example.org\n[^1]: A note.').blocks).toHaveLength(1);
  });

  it('leaves the blocks that are settled untouched', () => {
    const first = cut(LONG);
    const second = cut(`${LONG} And more.`, first);
    first.blocks.slice(0, -2).forEach((block, at) => expect(second.blocks[at]).toBe(block));
  });

  it('starts over when the text is another one', () => {
    expect(cut('Other.\n\nText.', cut(LONG)).blocks.map((block) => block.text)).toEqual(['Other.\n\n', 'Text.']);
  });
});
