/** Case W1 of `front-ends.md` (remarkjs/react-markdown#689, bytedance/deer-flow#3393) and its siblings. */
import { describe, expect, it } from 'vitest';
import { cut } from './blocks';
import { BLOCK_MS_MAX, DEPTH_MAX, costMs, depthOf } from './bounds';

describe('depthOf', () => {
  it.each([
    ['plain words\nand more', 0],
    ['> a', 1],
    ['>> a\n> > > b', 3],
    ['- a\n  - b\n    - c', 3],
    ['1. a\n   1. b', 2],
    ['> - a\n>   1. b', 2],
    ['- - - -', 0],
    ['* * *', 0],
    ['-5 degrees, +3, 1.5', 0],
    ['              - indented, but no list', 1],
  ])('of %j is %i', (text, depth) => {
    expect(depthOf(text)).toBe(depth);
  });
  it.each(['> ', '>', '1. ', '- ', '+ ', '* > ', '> 1. + ', '9) ', '-\t'])('finds %j again and again too deep', (mark) => {
    expect(depthOf(`${mark.repeat(3_000)}x`)).toBeGreaterThan(DEPTH_MAX);
  });
  it('finds levels that come line by line', () => {
    const text = Array.from({ length: 200 }, (_, at) => `${'  '.repeat(at)}- a`).join('\n');
    expect(depthOf(text)).toBeGreaterThan(DEPTH_MAX);
  });
});

describe('costMs', () => {
  it.each([
    ['prose', 'A **bold** word and a [link](https://example.org), `code` and [more] of it. '.repeat(10)],
    ['a table of 10 × 100', `|${'a|'.repeat(10)}\n|${'-|'.repeat(10)}\n${`|${'c|'.repeat(10)}\n`.repeat(100)}`],
    ['a list of links', '- [a](https://example.org) **b** [c]\n'.repeat(100)],
  ])('lets %s through', (_, text) => {
    expect(costMs(text)).toBeLessThan(BLOCK_MS_MAX);
  });
  it.each([
    ['nested pictures', '!['.repeat(1_000) + '](a)'.repeat(1_000)],
    ['open brackets', '['.repeat(4_000)],
    ['crossed emphasis', '**a *b '.repeat(600) + ' b* a**'.repeat(600)],
    ['crossed delimiters', '*a_ '.repeat(2_000)],
    ['underlined headings', 'a\n=\n'.repeat(2_000)],
    ['a table that fills itself up', `${'|a'.repeat(900)}|\n${'|-'.repeat(900)}|\n${'|\n'.repeat(2_000)}`],
  ])('stops %s', (_, text) => {
    expect(costMs(text)).toBeGreaterThan(BLOCK_MS_MAX);
  });
});

describe('cut, of what is hostile', () => {
  it('leaves the rest of the answer as it is', () => {
    const { blocks } = cut(`# Before\n\n${'> '.repeat(3_000)}\n\nAfter, **bold**.`);
    expect(blocks.map((block) => block.kind)).toEqual(['markdown', 'plain', 'markdown']);
  });
  it('is the same however the text has grown', () => {
    const text = `a\n\n${'1. '.repeat(200)}\n\n${'[x] '.repeat(400)}\n\n| a |\n|---|\n${'| b |\n'.repeat(2_000)}\nEnd [x].\n\n[x]: https://example.org\n`;
    let grown = cut(text.slice(0, 1));
    for (let end = 1; end < text.length + 97; end += 97) grown = cut(text.slice(0, end), grown);
    expect(grown.blocks).toEqual(cut(text).blocks);
  });
  it('cuts a long table between its rows, and gives each part the head', () => {
    const { blocks } = cut(`| a | b |\n|---|---|\n${'| c | d |\n'.repeat(2_000)}`);
    expect(blocks.length).toBeGreaterThan(3);
    expect(blocks.slice(1).every((block) => block.lead === '| a | b |\n|---|---|\n')).toBe(true);
  });
  it('gives links their addresses from afar', () => {
    const { blocks } = cut('See [a].\n\n```\n[b]: no\n```\n\nMore [b].\n\n[a]: https://example.org');
    expect(blocks.map((block) => block.tail)).toEqual(['\n\n[a]: https://example.org', undefined, undefined, undefined]);
  });
  it('does not let an address be repeated without end', () => {
    const { blocks } = cut(`${'[a] '.repeat(50)}\n\n[a]: https://example.org/${'x'.repeat(100_000)}`);
    expect(blocks[0]?.tail).toBeUndefined();
  });
  it('takes little time, whatever it is', () => {
    for (const mark of ['> ', '1. ', '[', '*', '`', '<', '|', '~', '#', '\n', ' ', '![](', '```\n', '- [ ] ', '[a]: b\n', '|-|\n', '\t']) {
      const began = performance.now();
      cut(mark.repeat(Math.ceil(200_000 / mark.length)));
      expect(performance.now() - began, mark).toBeLessThan(3_000);
    }
  });
});
