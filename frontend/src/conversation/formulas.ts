/**
 * Keeps formulas as they were written: `$a*b$`, `$$…$$`, `\(…\)` and `\[…\]` are no Markdown, so nothing within them is an escape, an
 * emphasis or a link. They are not drawn yet. Prices (`$5 and $10`) and escaped brackets (`\[1\]`) are no formulas.
 *
 * Rule: what opens and is not closed in its paragraph is text.
 */
import type { Code, Construct, Effects, Extension, State, TokenizeContext } from 'micromark-util-types';

/** What only formulas have; a price, a note in brackets or a path does not. */
const MATHEMATICAL = /[\\^_={}<>|*+]|\s[-/]\s|^\s*[A-Za-z]'?\d?\s*$/;
const FORMULA_MAX = 4_000;

export function isFormula(source: string): boolean {
  return MATHEMATICAL.test(source);
}

const DOLLAR = 36;
const BACKSLASH = 92;
const ROUND: readonly [number, number] = [40, 41];
const SQUARE: readonly [number, number] = [91, 93];

/** Up to where a paragraph is known to close none of its brackets: without it, each `\(` that stays open would read to the end again. */
const unclosed = new WeakMap<TokenizeContext, Map<number, number>>();

/** The construct for micromark; its tokens are `formula`. */
export const formulaSyntax: Extension = {
  text: { [DOLLAR]: { name: 'formula', tokenize: dollars } as Construct, [BACKSLASH]: { name: 'formula', tokenize: backslashes } as Construct },
};

declare module 'micromark-util-types' {
  interface TokenTypeMap {
    formula: 'formula';
    formulaData: 'formulaData';
  }
}

const isLineEnding = (code: Code): boolean => code !== null && code < -2;

/** Reads what is between the marks; `close` is asked at every character whether the end begins there. */
function reader(effects: Effects, nok: State, close: (body: string) => { at: (code: Code) => boolean; state: State }, mayBreak: boolean) {
  let body = '';
  const { at, state } = { at: (code: Code) => close(body).at(code), state: (code: Code) => close(body).state(code) };
  const between = (code: Code): State | undefined => {
    if (code === null || body.length > FORMULA_MAX || (isLineEnding(code) && !mayBreak)) return nok(code);
    if (isLineEnding(code)) {
      effects.enter('lineEnding');
      effects.consume(code);
      effects.exit('lineEnding');
      body += '\n';
      return between;
    }
    effects.enter('formulaData');
    return data(code);
  };
  const data = (code: Code): State | undefined => {
    if (code === null || isLineEnding(code)) {
      effects.exit('formulaData');
      return between(code);
    }
    if (at(code)) return state(code);
    body += code < 0 ? ' ' : String.fromCharCode(code);
    if (body.length > FORMULA_MAX) return nok(code);
    effects.consume(code);
    return data;
  };
  return between;
}

function end(effects: Effects, ok: State): State {
  return (code) => {
    effects.exit('formulaData');
    effects.exit('formula');
    return ok(code);
  };
}

function dollars(this: TokenizeContext, effects: Effects, ok: State, nok: State): State {
  let size = 0;
  const open: State = (code) => {
    if (code === DOLLAR && size < 2) {
      effects.consume(code);
      size += 1;
      return open;
    }
    if (code === DOLLAR || code === null || (size === 1 && (code < 0 || code === 32))) return nok(code);
    effects.exit('formulaData');
    return reader(effects, nok, closing, size === 2)(code);
  };
  const closing = (body: string) => ({ at: (code: Code) => code === DOLLAR, state: closed(body) });
  const closed = (body: string): State => {
    let found = 0;
    const more: State = (code) => {
      if (code === DOLLAR && found < size) {
        effects.consume(code);
        found += 1;
        return more;
      }
      // A single one closes like a bracket: nothing open before it, and no price after it.
      const isPrice = size === 1 && (/\s$/.test(body) || (code !== null && code >= 48 && code <= 57));
      return found === size && body && !isPrice && isFormula(body) ? end(effects, ok)(code) : nok(code);
    };
    return more;
  };
  return (code) => {
    effects.enter('formula');
    effects.enter('formulaData');
    return open(code);
  };
}

function backslashes(this: TokenizeContext, effects: Effects, ok: State, nok: State): State {
  const known = unclosed.get(this) ?? new Map<number, number>();
  unclosed.set(this, known);
  let pair = ROUND;
  const stayedOpen: State = (code) => {
    known.set(pair[1], this.now().offset);
    return nok(code);
  };
  const open: State = (code) => {
    if (code !== ROUND[0] && code !== SQUARE[0]) return nok(code);
    pair = code === ROUND[0] ? ROUND : SQUARE;
    if (this.now().offset < (known.get(pair[1]) ?? 0)) return nok(code);
    effects.consume(code);
    effects.exit('formulaData');
    return reader(effects, stayedOpen, closing, true);
  };
  const closing = (body: string) => ({ at: (code: Code) => code === pair[1] && body.endsWith('\\'), state: closed(body) });
  const closed = (body: string): State => (code) => {
    if (!isFormula(body.slice(0, -1))) return nok(code);
    effects.consume(code);
    return end(effects, ok);
  };
  return (code) => {
    effects.enter('formula');
    effects.enter('formulaData');
    effects.consume(code);
    return open;
  };
}
