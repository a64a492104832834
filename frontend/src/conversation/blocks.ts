/**
 * Cuts Markdown into blocks that can be drawn on their own, so that a long answer costs only its last block while it streams.
 *
 * Rule: the blocks one after the other are the text, and each one means the same alone as in its place. Where that cannot be (link
 * definitions and footnotes reach across blocks), there is one block.
 */

export interface Block {
  kind: 'markdown' | 'code';
  /** Offset in the text: stays the same while the text grows, so it names the block. */
  at: number;
  text: string;
  /** Of code: what stands between the fences. */
  code?: string;
  lang?: string;
  isOpen?: boolean;
}

export interface Cut {
  text: string;
  blocks: readonly Block[];
}

const EMPTY: Cut = { text: '', blocks: [] };
const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;
const FENCE = /^ {0,3}(`{3,}|~{3,})([^\n]*)$/;
const ITEM = /^ {0,3}([-*+]|\d{1,9}[.)])(\s|$)/;
/** A list this long is cut between its items: better a little more air in it than a slow answer. */
const LIST_MAX = 4_000;

/** Cuts `text`; what `before` had already cut of it, except its last two blocks, is not looked at again. */
export function cut(text: string, before: Cut = EMPTY): Cut {
  if (text === before.text) return before;
  if (DEFINITION.test(text)) return { text, blocks: [{ kind: 'markdown', at: 0, text }] };
  const settled = before.blocks.slice(0, -2);
  const last = settled.at(-1);
  const end = last ? last.at + last.text.length : 0;
  const isMore = settled.length > 0 && before.blocks.length > 1 && text.startsWith(before.text.slice(0, end));
  return isMore ? { text, blocks: [...settled, ...blocksOf(text, end)] } : { text, blocks: blocksOf(text, 0) };
}

function blocksOf(text: string, from: number): Block[] {
  const blocks: Block[] = [];
  let start = from;
  let at = from;
  let isBlank = false;
  let isList = false;
  const close = (end: number) => {
    if (text.slice(start, end).trim()) blocks.push({ kind: 'markdown', at: start, text: text.slice(start, end) });
    else if (blocks.length && end > start) {
      const previous = blocks[blocks.length - 1] as Block;
      blocks[blocks.length - 1] = { ...previous, text: text.slice(previous.at, end) };
    }
    start = end;
    isList = false;
  };
  while (at < text.length) {
    const next = lineEnd(text, at);
    const line = text.slice(at, next).replace(/\r?\n$/, '');
    const fence = isList && /^ {2}/.test(line) ? null : FENCE.exec(line); // Indented in a list: the item's own.
    if (fence?.[1] && !(fence[1][0] === '`' && fence[2]?.includes('`'))) {
      close(at);
      const block = fenced(text, at, next, fence[1], (fence[2] ?? '').trim());
      blocks.push(block);
      at = start = at + block.text.length;
      isBlank = false;
      continue;
    }
    if (!line.trim()) {
      isBlank = true;
    } else {
      const item = ITEM.test(line);
      const goesOn = isList && (item || /^(\s{2,}|\t)/.test(line)) && !(item && at - start > LIST_MAX);
      if ((isBlank && !goesOn && !/^( {4}|\t)/.test(line)) || (isList && item && !goesOn)) close(at);
      if (start === at) isList = item;
      isBlank = false;
    }
    at = next;
  }
  close(text.length);
  return blocks;
}

function fenced(text: string, at: number, bodyAt: number, mark: string, info: string): Block {
  const closing = new RegExp(`^ {0,3}${mark[0]}{${mark.length},}[ \\t]*\\r?$`);
  let line = bodyAt;
  while (line < text.length) {
    const next = lineEnd(text, line);
    if (closing.test(text.slice(line, next).replace(/\n$/, ''))) {
      const code = text.slice(bodyAt, line).replace(/\r?\n$/, '');
      return { kind: 'code', at, text: text.slice(at, next), code, lang: language(info), isOpen: false };
    }
    line = next;
  }
  return { kind: 'code', at, text: text.slice(at), code: text.slice(bodyAt), lang: language(info), isOpen: true };
}

function language(info: string): string {
  return (/^[\w+#.-]+/.exec(info)?.[0] ?? '').toLowerCase();
}

function lineEnd(text: string, at: number): number {
  const end = text.indexOf('\n', at);
  return end < 0 ? text.length : end + 1;
}
