/**
 * What of a text may be parsed as Markdown. A model that loops, or a person who means harm, writes what takes a parser seconds or
 * overflows its stack; so a text is looked at, line by line and once, before it is parsed. What is beyond a bound is shown as it
 * was written.
 *
 * Rule: the time is linear in the text, and the answer depends on the text alone: the same message looks the same on every machine.
 */

/** So deep may quotes and lists be nested within each other. People write six levels, a thread of e-mails ten. */
export const DEPTH_MAX = 32;
/** Characters of one block: beyond it is data, not prose. */
export const BLOCK_MAX = 32_000;
/** Estimated time of one block: a growing block is parsed again with every piece. */
export const BLOCK_MS_MAX = 60;
/** Estimated time of all blocks of a text. */
export const TEXT_MS_MAX = 1_500;
/** Characters of a text that are parsed at all. */
export const TEXT_MAX = 400_000;

const ITEM = /^[ \t]*([-*+]|\d{1,9}[.)])(\s|$)/;
const THEMATIC_BREAK = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;

/** Returns how deep the containers of Markdown (quotes, list items) may be nested in `text`; stops to count behind `max`. */
export function depthOf(text: string, max = DEPTH_MAX): number {
  let deepest = 0;
  let markers = 0;
  for (let at = 0; at < text.length && deepest <= max; ) {
    const end = lineEnd(text, at);
    let { depth, isMarked } = opened(text, at, end, max);
    if (depth > 1 && THEMATIC_BREAK.test(text.slice(at, end).trimEnd())) depth = 0;
    // An indented marker is at most as deep as there were markers before it.
    if (isMarked) depth += Math.min(markers, indentOf(text, at, end) >> 1);
    markers += isMarked ? 1 : 0;
    deepest = Math.max(deepest, depth);
    at = end + 1;
  }
  return deepest;
}

/** The containers that a line opens at its beginning. */
function opened(text: string, from: number, end: number, max: number): { depth: number; isMarked: boolean } {
  let depth = 0;
  let at = from;
  let isMarked = false;
  while (at < end && depth <= max) {
    const char = text.charCodeAt(at);
    if (char === SPACE || char === TAB) at += 1;
    else if (char === QUOTE) {
      depth += 1;
      at += 1;
    } else {
      const next = markerEnd(text, at, end);
      if (next === at) break;
      depth += 1;
      isMarked = true;
      at = next;
    }
  }
  return { depth, isMarked };
}

/** Where the mark of a list item ends that begins at `at`; `at` if there is none. */
function markerEnd(text: string, at: number, end: number): number {
  const char = text.charCodeAt(at);
  let next = at;
  if (char === MINUS || char === STAR || char === PLUS) next = at + 1;
  else {
    while (next < end && next - at < 9 && isDigit(text.charCodeAt(next))) next += 1;
    if (next === at || (text[next] !== '.' && text[next] !== ')')) return at;
    next += 1;
  }
  return next >= end || text.charCodeAt(next) === SPACE || text.charCodeAt(next) === TAB ? next : at;
}

function indentOf(text: string, from: number, end: number): number {
  let columns = 0;
  for (let at = from; at < end; at += 1) {
    const char = text.charCodeAt(at);
    if (char === SPACE) columns += 1;
    else if (char === TAB) columns += 4;
    else break;
  }
  return columns;
}

/**
 * Estimates how long a block takes to parse, in milliseconds of a machine of today; what a parser does in quadratic time counts:
 * brackets and delimiters within a paragraph, underlined headings within a block; and the cells of tables, empty ones included.
 */
export function costMs(text: string): number {
  let ms = text.length * 0.004;
  let brackets = 0;
  let delimiters = 0;
  let underlines = 0;
  let columns = 0;
  let cells = 0;
  const close = () => {
    ms += brackets * brackets * 0.0025 + delimiters * delimiters * 0.0002;
    brackets = delimiters = 0;
  };
  for (let at = 0; at < text.length; ) {
    const end = lineEnd(text, at);
    const [first, isEmpty] = firstOf(text, at, end);
    // Paragraphs end at blank lines; an item of a list and a row of a table are each on their own.
    if (isEmpty || first === PIPE || first === HASH || ITEM.test(text.slice(at, Math.min(end, at + 80)))) close();
    if (isEmpty) columns = 0;
    else if ((first === PIPE || first === MINUS || first === COLON) && isDelimiterRow(text.slice(at, end))) columns = text.slice(at, end).split('|').length;
    cells += columns; // Each row is filled up to the width of the head.
    if (!isEmpty && (first === EQUALS || first === MINUS) && isUnderline(text, at, end)) underlines += 1;
    let before = 0;
    for (let index = at; index < end; index += 1) {
      const char = text.charCodeAt(index);
      if (char === OPEN || char === CLOSE) brackets += 1;
      else if ((char === STAR || char === UNDERSCORE || char === TILDE) && char !== before) delimiters += 1;
      before = char;
    }
    at = end + 1;
  }
  close();
  return ms + underlines * underlines * 0.0002 + cells * 0.02;
}

/** `|---|:--:|`: the line below the head of a table. */
export function isDelimiterRow(line: string): boolean {
  return line.includes('|') && line.includes('-') && /^[\s|:-]+$/.test(line);
}

function firstOf(text: string, from: number, end: number): [first: number, isEmpty: boolean] {
  for (let at = from; at < end; at += 1) {
    const char = text.charCodeAt(at);
    if (char !== SPACE && char !== TAB && char !== RETURN) return [char, false];
  }
  return [0, true];
}

function isUnderline(text: string, from: number, end: number): boolean {
  const line = text.slice(from, end).trim();
  const [mark] = line;
  for (let at = 1; at < line.length; at += 1) if (line[at] !== mark) return false;
  return true;
}

const isDigit = (char: number): boolean => char >= 48 && char <= 57;

function lineEnd(text: string, at: number): number {
  const end = text.indexOf('\n', at);
  return end < 0 ? text.length : end;
}

const TAB = 9;
const RETURN = 13;
const SPACE = 32;
const HASH = 35;
const STAR = 42;
const PLUS = 43;
const MINUS = 45;
const COLON = 58;
const EQUALS = 61;
const QUOTE = 62;
const OPEN = 91;
const CLOSE = 93;
const UNDERSCORE = 95;
const PIPE = 124;
const TILDE = 126;
