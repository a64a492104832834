/**
 * Cuts Markdown into blocks that can be drawn on their own, so that a long answer costs only its last block while it streams, and
 * says of each block whether it may be parsed at all.
 *
 * Rule: the blocks one after the other are the text, and each one means the same alone as in its place: what it needs of the rest
 * (the head of its table, the addresses of its links) it brings along in `lead` and `tail`.
 */
import { BLOCK_MAX, BLOCK_MS_MAX, DEPTH_MAX, TEXT_MAX, TEXT_MS_MAX, costMs, depthOf, isDelimiterRow } from './bounds';

export interface Block {
  /** `plain` is beyond what is parsed: it is shown as it was written. */
  kind: 'markdown' | 'code' | 'plain';
  /** Offset in the text: stays the same while the text grows, so it names the block. */
  at: number;
  text: string;
  /** Of code: what stands between the fences. */
  code?: string;
  lang?: string;
  isOpen?: boolean;
  /** Of Markdown: parsed before the text, and after it. */
  lead?: string;
  tail?: string;
  /** Estimated time of parsing, in milliseconds. */
  ms?: number;
}

export interface Cut {
  text: string;
  blocks: readonly Block[];
}

const EMPTY: Cut = { text: '', blocks: [] };
const FENCE = /^ {0,3}(`{3,}|~{3,})([^\n]*)$/;
const ITEM = /^ {0,3}([-*+]|\d{1,9}[.)])(\s|$)/;
const FOOTNOTE = /^ {0,3}\[\^[^\]\n]{1,200}\]:/m;
const DEFINITION = /^ {0,3}\[([^\]\n]{1,200})\]:[ \t]*\S.*$/gm;
/** A list, a table or a paragraph this long is cut between its items, rows or lines: better a little more air in it than a slow answer. */
const LIST_MAX = 4_000;
const PARAGRAPH_MAX = 8_000;
const HEAD_MAX = 2_000;
/** Footnotes hold a text together, unless it is longer. */
const FOOTNOTES_MAX = 16_000;
const DEFINITIONS_MAX = 100;
const DEFINITION_MAX = 2_000;

/** Cuts `text`; what `before` had already cut of it, except its last two blocks, is not looked at again. */
export function cut(text: string, before: Cut = EMPTY): Cut {
  if (text === before.text) return before;
  if (text.length <= FOOTNOTES_MAX && FOOTNOTE.test(text)) {
    return { text, blocks: judged([{ kind: 'markdown', at: 0, text }]) };
  }
  const settled = before.blocks.slice(0, -2);
  while (settled.length && mayBeCutTable(settled[settled.length - 1] as Block)) settled.pop();
  const last = settled.at(-1);
  const end = last ? last.at + last.text.length : 0;
  const isMore = settled.length > 0 && text.startsWith(before.text.slice(0, end));
  const blocks = isMore ? [...settled, ...blocksOf(text, end)] : blocksOf(text, 0);
  return { text, blocks: judged(defined(blocks)) };
}

/** In the middle of a table its head would not be known. */
const mayBeCutTable = (block: Block): boolean => block.kind !== 'code' && block.text.includes('|') && !/\n[ \t\r]*\n$/.test(block.text.slice(-100));

function blocksOf(text: string, from: number): Block[] {
  const blocks: Block[] = [];
  let start = from;
  let at = from;
  let isBlank = false;
  let isList = false;
  let lead = '';
  let head = '';
  const close = (end: number) => {
    if (text.slice(start, end).trim()) blocks.push({ kind: 'markdown', at: start, text: text.slice(start, end), ...(lead ? { lead } : {}) });
    else if (blocks.length && end > start) {
      const former = blocks[blocks.length - 1] as Block;
      blocks[blocks.length - 1] = { ...former, text: text.slice(former.at, end) };
    }
    start = end;
    isList = false;
    lead = head = '';
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
    const formulaEnd = isList || line.length > PARAGRAPH_MAX ? null : endOfFormula(text, at, next, line.trim());
    if (formulaEnd !== null) {
      close(at);
      blocks.push({ kind: 'plain', at, text: text.slice(at, formulaEnd) });
      at = start = formulaEnd;
      isBlank = false;
      continue;
    }
    if (!line.trim()) {
      isBlank = true;
    } else {
      const item = ITEM.test(line);
      const goesOn = isList && (item || /^(\s{2,}|\t)/.test(line)) && !(item && at - start > LIST_MAX);
      if ((isBlank && !goesOn && !/^( {4}|\t)/.test(line)) || (isList && item && !goesOn)) close(at);
      else if (!isList && !isBlank) {
        const table = head || lead;
        if (table && at - start > LIST_MAX) {
          close(at);
          lead = table;
        } else if (!table && at - start > PARAGRAPH_MAX) close(at);
        else if (!head && next - start <= HEAD_MAX && isDelimiterRow(line) && lineEnd(text, start) === at) head = text.slice(start, next);
      }
      if (start === at) isList = item;
      isBlank = false;
    }
    at = next;
  }
  close(text.length);
  return blocks;
}

/** Gives each block the addresses of the links that it names: `[a]: https://…` may stand far from `[a]`. */
function defined(blocks: Block[]): Block[] {
  if (blocks.length < 2) return blocks;
  const definitions = new Map<string, { line: string; from: Block }>();
  for (const block of blocks) {
    if (block.kind === 'code' || !block.text.includes(']:')) continue;
    for (const found of block.text.matchAll(DEFINITION)) {
      const label = (found[1] ?? '').trim().toLowerCase();
      if (definitions.size >= DEFINITIONS_MAX || !label || found[0].length > DEFINITION_MAX || definitions.has(label)) continue;
      definitions.set(label, { line: found[0], from: block });
    }
  }
  return blocks.map((block) => {
    if (block.kind !== 'markdown') return block;
    const lines: string[] = [];
    if (definitions.size && block.text.includes('[')) {
      const named = block.text.toLowerCase();
      for (const [label, { line, from }] of definitions) if (from !== block && named.includes(`[${label}]`)) lines.push(line);
    }
    const tail = lines.length ? `\n\n${lines.join('\n')}` : '';
    return tail === (block.tail ?? '') ? block : withTail(block, tail);
  });
}

function withTail(block: Block, tail: string): Block {
  const { tail: _, ...rest } = block;
  return tail ? { ...rest, tail } : rest;
}

/** Turns what is beyond the bounds of parsing into plain text. */
function judged(blocks: readonly Block[]): Block[] {
  let spent = 0;
  return blocks.map((block) => {
    if (block.kind !== 'markdown') return block;
    const ms = block.ms ?? costMs((block.lead ?? '') + block.text);
    const isHeavy = ms > BLOCK_MS_MAX || spent + ms > TEXT_MS_MAX || block.text.length > BLOCK_MAX || block.at > TEXT_MAX;
    if (isHeavy || (block.ms === undefined && depthOf(block.text) > DEPTH_MAX)) return { kind: 'plain', at: block.at, text: block.text };
    spent += ms;
    return block.ms === undefined ? { ...block, ms } : block;
  });
}

const FORMULAS: readonly [open: string, close: string][] = [
  ['$$', '$$'],
  ['\\[', '\\]'],
  ['\\begin{', '\\end{'],
];
const FORMULA_MAX = 8_000;

/** Where a formula ends that begins in a line of its own: no line of it is a heading, a list or a quote. */
function endOfFormula(text: string, at: number, next: number, line: string): number | null {
  const [open, close] = FORMULAS.find(([mark]) => line.startsWith(mark)) ?? [];
  if (open === undefined || close === undefined || line.indexOf(close, open.length) >= 0) return null;
  const end = text.slice(next, at + FORMULA_MAX).indexOf(close);
  return end < 0 ? null : lineEnd(text, next + end);
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
