/** Arguments and results of tools, made readable. Rule: whatever arrives is shown; what is not understood is shown as it is. */

export type Shown =
  | { kind: 'fields'; fields: { name: string; value: string; isLong: boolean }[] }
  | { kind: 'code'; text: string; lang: string }
  | { kind: 'none' };

/** Fields for a plain object, code for everything else. */
export function shown(value: unknown): Shown {
  if (value === undefined || value === null || value === '') return { kind: 'none' };
  if (typeof value === 'string') return fromText(value);
  if (isRecord(value)) {
    const entries = Object.entries(value);
    if (!entries.length) return { kind: 'none' };
    if (entries.length <= 12) {
      const fields = entries.map(([name, each]) => {
        const text = typeof each === 'string' ? each : JSON.stringify(each, null, 2);
        return { name, value: text, isLong: text.length > 80 || text.includes('\n') };
      });
      return { kind: 'fields', fields };
    }
  }
  return { kind: 'code', text: JSON.stringify(value, null, 2), lang: 'json' };
}

function fromText(text: string): Shown {
  const trimmed = text.trim();
  if (/^[[{]/.test(trimmed)) {
    try {
      return { kind: 'code', text: JSON.stringify(JSON.parse(trimmed), null, 2), lang: 'json' };
    } catch {
      // Not JSON after all, or not yet the whole of it.
    }
  }
  return { kind: 'code', text, lang: '' };
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
