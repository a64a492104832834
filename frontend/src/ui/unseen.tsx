/**
 * Makes visible what a text hides: characters that nobody sees or that turn the order of others round, and empty lines by the dozen.
 * Where a person decides by reading (an approval, a name, a title), what is read is what is there.
 *
 * Rule: nothing is left out; what cannot be seen stands there by its number. Marks that scripts and emoji need stay as they are.
 */
import { Fragment } from 'react';

export interface Piece {
  text: string;
  /** Of what cannot be seen: how it is shown, and what it is. */
  shown?: string;
  name?: string;
}

const NAMES: Record<number, string> = {
  0x00: 'null', 0x07: 'bell', 0x08: 'backspace', 0x0d: 'carriage return', 0x1b: 'escape', 0x7f: 'delete', 0x85: 'next line',
  0xad: 'soft hyphen', 0x34f: 'grapheme joiner', 0x61c: 'Arabic letter mark', 0x180e: 'Mongolian vowel separator',
  0x200b: 'zero-width space', 0x200c: 'zero-width non-joiner', 0x200d: 'zero-width joiner', 0x200e: 'left-to-right mark',
  0x200f: 'right-to-left mark', 0x2028: 'line separator', 0x2029: 'paragraph separator', 0x202a: 'left-to-right embedding',
  0x202b: 'right-to-left embedding', 0x202c: 'pop directional formatting', 0x202d: 'left-to-right override',
  0x202e: 'right-to-left override', 0x2060: 'word joiner', 0x2066: 'left-to-right isolate', 0x2067: 'right-to-left isolate',
  0x2068: 'first strong isolate', 0x2069: 'pop directional isolate', 0x2800: 'blank pattern', 0x3164: 'Hangul filler',
  0xfeff: 'zero-width no-break space', 0xffa0: 'half-width Hangul filler',
};

const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}\u{1d173}-\u{1d17a}]|\p{Surrogate}|\n(?:[ \t\r]*\n){3,}/gu;
const JOINED = /^[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f\p{Regional_Indicator}#*0-9]/u;
const PICTURE = /^[\p{Extended_Pictographic}\p{Emoji_Modifier}\u20e3]/u;
const LETTER_THAT_JOINS = /\p{Script=Arabic}|\p{Script=Syriac}|\p{Script=Mongolian}|\p{Script=Nko}|\p{Script=Devanagari}|\p{Script=Bengali}|\p{Script=Gurmukhi}|\p{Script=Gujarati}|\p{Script=Oriya}|\p{Script=Tamil}|\p{Script=Telugu}|\p{Script=Kannada}|\p{Script=Malayalam}|\p{Script=Sinhala}|\p{Script=Khmer}|\p{Script=Myanmar}/u;

/** Cuts a text into what is seen and what is not. `isLine`: the text stands in one line, so its line ends are unseen as well. */
export function piecesOf(text: string, isLine = false): Piece[] {
  const found: Piece[] = [];
  let from = 0;
  const pattern = isLine ? new RegExp(`${UNSEEN.source}|[\\n\\t]`, 'gu') : UNSEEN;
  for (const match of text.matchAll(pattern)) {
    const [unseen] = match;
    if (isNeeded(text, match.index, unseen)) continue;
    if (unseen === '\r' && text[match.index + 1] === '\n' && !isLine) continue;
    if (match.index > from) found.push({ text: text.slice(from, match.index) });
    found.push({ text: unseen, ...label(unseen) });
    from = match.index + unseen.length;
  }
  if (from < text.length || !found.length) found.push({ text: text.slice(from) });
  return found;
}

/** A joiner within an emoji or between letters that join, or the mark that makes a picture of a character. */
function isNeeded(text: string, at: number, unseen: string): boolean {
  const before = lastCharacter(text.slice(Math.max(0, at - 2), at));
  const after = text.slice(at + 1, at + 3);
  if (unseen === '\ufe0f' || unseen === '\ufe0e') return JOINED.test(before);
  if (unseen === '\u200d' && JOINED.test(before) && PICTURE.test(after)) return true;
  const isJoiner = unseen === '\u200c' || unseen === '\u200d';
  return isJoiner && LETTER_THAT_JOINS.test(before) && LETTER_THAT_JOINS.test(after.slice(0, 1));
}

/** By its code, not by a pattern that ends in `$`: Chromium does not find a character of two halves so. */
const lastCharacter = (text: string): string => [...text].at(-1) ?? '';

function label(unseen: string): { shown: string; name: string } {
  if (unseen.includes('\n') && unseen.length > 1) {
    const lines = unseen.split('\n').length - 2;
    return { shown: `${lines} empty lines`, name: `${lines} empty lines` };
  }
  if (unseen === '\n') return { shown: '⏎', name: 'line end' };
  if (unseen === '\t') return { shown: '⇥', name: 'tab' };
  const code = unseen.codePointAt(0) ?? 0;
  const number = `U+${code.toString(16).toUpperCase().padStart(4, '0')}`;
  return { shown: number, name: NAMES[code] ?? (code >= 0xe0000 ? 'tag or variation selector' : 'invisible character') };
}

/** Whether there is anything in a text that can be read. */
export function isBlank(text: string): boolean {
  return piecesOf(text, true).every((piece) => piece.shown !== undefined || !piece.text.trim());
}

/** A text in which everything can be seen. */
export function Seen({ text, isLine = false }: { text: string; isLine?: boolean }) {
  const pieces = piecesOf(text, isLine);
  if (pieces.length === 1 && pieces[0]?.shown === undefined) return <>{withoutHeaps(text)}</>;
  return (
    <>
      {pieces.map(({ text: piece, shown, name }, at) =>
        shown === undefined ? (
          <Fragment key={at}>{withoutHeaps(piece)}</Fragment>
        ) : (
          <bdi key={at} className={piece.includes('\n') && piece.length > 1 ? 'unseen unseen-lines' : 'unseen'} title={name}>
            {shown}
          </bdi>
        ),
      )}
    </>
  );
}

const HEAP = /(\p{M}{24})(\p{M}+)/gu;

/** Marks heaped on one letter without end take a browser minutes to place: of a heap the first are shown, the others are counted. */
export function withoutHeaps(text: string): string {
  return text.replace(HEAP, (_, first: string, others: string) => `${first} [${others.length.toLocaleString()} more marks] `);
}

/** JSON in which what cannot be seen is escaped: the same value, and all of it can be read. */
export function visibleJson(value: unknown): string {
  const text = JSON.stringify(value, null, 2) ?? 'null';
  return text.replace(new RegExp(UNSEEN.source.replace(/\|\\n.*$/, ''), 'gu'), (unseen) =>
    unseen === '\n'
      ? unseen
      : [...Array(unseen.length).keys()].map((at) => `\\u${unseen.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
  );
}
