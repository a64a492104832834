/** Arguments and results of tools, made readable. Rule: whatever arrives is shown; what is not understood is shown as it is. */

export type Shown = (
  | { kind: 'fields'; fields: { name: string; value: string; isLong: boolean }[] }
  | { kind: 'code'; text: string; lang: string }
  | { kind: 'none' }
) & {
  /** Characters. */
  size: number;
};

/** Deeper values are written on one line: their indentation alone would be without end. */
const INDENTED_DEPTH_MAX = 40;
/** So much of a result is shown; the model was given all of it. */
const SHOWN_MAX = 200_000;

/** Fields for a plain object, code for everything else. */
export function shown(value: unknown, isWhole = false): Shown {
  if (value === undefined || value === null || value === '') return { kind: 'none', size: 0 };
  if (typeof value === 'string') return fromText(value, isWhole);
  if (isRecord(value)) {
    const entries = Object.entries(value);
    if (!entries.length) return { kind: 'none', size: 0 };
    if (entries.length <= 12) {
      const fields = entries.map(([name, each]) => {
        const text = typeof each === 'string' ? each : written(each);
        return { name, value: cutOff(text, isWhole), isLong: text.length > 80 || text.includes('\n') };
      });
      return { kind: 'fields', fields, size: fields.reduce((sum, { name, value: text }) => sum + name.length + text.length, 0) };
    }
  }
  return asCode(written(value), 'json', isWhole);
}

function asCode(text: string, lang: string, isWhole: boolean): Shown {
  return { kind: 'code', text: cutOff(text, isWhole), lang, size: text.length };
}

function cutOff(text: string, isWhole: boolean): string {
  return isWhole || text.length <= SHOWN_MAX ? text : `${text.slice(0, SHOWN_MAX)}\n… and ${(text.length - SHOWN_MAX).toLocaleString()} more characters`;
}

function written(value: unknown): string {
  return JSON.stringify(value, null, isDeep(value) ? 0 : 2) ?? String(value);
}

/** Whether a value is nested deeper than is worth indenting; calls nothing in a circle, so that no value overflows the stack. */
function isDeep(value: unknown): boolean {
  const waiting: [value: unknown, depth: number][] = [[value, 0]];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [each, depth] = next;
    if (typeof each !== 'object' || each === null) continue;
    if (depth > INDENTED_DEPTH_MAX) return true;
    for (const inner of Object.values(each)) waiting.push([inner, depth + 1]);
  }
  return false;
}

function fromText(text: string, isWhole: boolean): Shown {
  const trimmed = text.trim();
  if (/^[[{]/.test(trimmed)) {
    try {
      return asCode(written(JSON.parse(trimmed)), 'json', isWhole);
    } catch {
      // Not JSON after all, or not yet the whole of it.
    }
  }
  return asCode(text, '', isWhole);
}

/** The one thing of a call's arguments that says most, for the card's first line. */
export function gist(input: unknown): string {
  if (!isRecord(input)) return '';
  const named = ['path', 'name', 'query', 'pattern', 'url', 'key', 'notation', 'text', 'command', 'source'];
  const texts = Object.entries(input).filter((entry): entry is [string, string] => typeof entry[1] === 'string' && entry[1] !== '');
  const found = named.map((name) => texts.find(([each]) => each === name)).find(Boolean) ?? texts[0];
  const value = found?.[1] ?? Object.values(input).filter((each) => typeof each === 'number').join(' – ');
  const line = value.split('\n')[0] ?? '';
  return line.length > 72 ? `${line.slice(0, 71)}…` : line;
}

/** `write_file` as people say it. */
export function toolTitle(name: string): string {
  const words = name.replace(/[_-]+/g, ' ').trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
