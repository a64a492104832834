import { renderToStaticMarkup } from 'react-dom/server';
import { describe, expect, it } from 'vitest';
import { sentenceEnd, spoken } from './announcer';
import { pieces } from './highlight';
import { isFormula } from './formulas';
import { Markdown, SessionContext, otherHost, safeUrl } from './markdown';
import { isBlank, piecesOf, visibleJson, withoutHeaps } from '../ui/unseen';
import { gist, shown, toolTitle } from './values';

const drawn = (text: string) =>
  renderToStaticMarkup(
    <SessionContext value="s1">
      <Markdown text={text} />
    </SessionContext>,
  );

describe('Markdown', () => {
  it('never lets HTML through', () => {
    const html = drawn('a <script>x()</script> <img src=x onerror=y()> <b>bold</b>\n\n<svg onload=z()></svg>');
    expect(html).not.toMatch(/<(script|img|b|svg)\b/);
  });
  it('shows pictures of the workspace, and makes links of others', () => {
    expect(drawn('![a](chart.png)')).toContain('src="/v1/sessions/s1/workspace/chart.png?inline=1"');
    expect(drawn('![a](https://evil.example/p.png)')).not.toContain('<img');
  });
  it('draws what stands in blocks of its own', () => {
    const text = '# A\n\nb\n\n```js\nlet c = 1\n```\n\n- d\n- e\n\n| f |\n|---|\n| g |\n';
    expect(drawn(text).replace(/<div class="prose-group">|<\/div>/g, '')).toContain('<li>d</li>');
  });
});

describe('safeUrl', () => {
  it.each(['https://a.b/c?d#e', 'http://a', 'mailto:a@b', 'notes/a b.md', './a.md'])('lets %s through', (url) => {
    expect(safeUrl(url)).toBe(url);
  });
  it.each(['javascript:x', 'JaVaScRiPt:x', 'data:text/html,x', 'vbscript:x', '//evil', '\\\\evil', '../../x', 'a/../../x', 'blob:x', '?x', '#x'])(
    'leads %s nowhere',
    (url) => {
      expect(safeUrl(url)).toBe('');
    },
  );
});

describe('values', () => {
  it('shows fields of an object, and code of the rest', () => {
    expect(shown({ a: 1, b: 'x' })).toMatchObject({ kind: 'fields', fields: [{ name: 'a', value: '1' }, { name: 'b', value: 'x' }] });
    expect(shown('{"a":1}')).toMatchObject({ kind: 'code', text: '{\n  "a": 1\n}', lang: 'json' });
    expect(shown('{broken')).toMatchObject({ kind: 'code', text: '{broken', lang: '' });
    expect(shown([])).toMatchObject({ kind: 'code' });
    expect(shown({})).toMatchObject({ kind: 'none' });
  });
  it('says in one line what a call is about', () => {
    expect(gist({ content: 'long', path: 'a.md' })).toBe('a.md');
    expect(gist({ low: 1, high: 6 })).toBe('1 – 6');
    expect(gist('text')).toBe('');
    expect(toolTitle('write_file')).toBe('Write file');
  });
});

describe('the announcer', () => {
  it('speaks whole sentences', () => {
    expect(sentenceEnd('One. Two')).toBe(4);
    expect(sentenceEnd('No end')).toBe(0);
  });
  it('names code and leaves out marks', () => {
    expect(spoken('**Hi** [there](https://x)\n```py\nx\n```')).toBe('Hi there Code.');
  });
});

describe('highlight', () => {
  it('keeps every character', () => {
    const code = 'def f(x):\n    return "<b>" # done\n';
    expect(
      pieces(code, 'python')
        ?.map((piece) => piece.text)
        .join(''),
    ).toBe(code);
  });
  it('does not know every language', () => {
    expect(pieces('x', 'klingon')).toBeNull();
  });
});

describe('links', () => {
  it.each([
    ['https://bank.example', 'https://evil.example/x', 'evil.example'],
    ['bank.example/login', 'https://evil.example', 'evil.example'],
    ['www.bank.example', 'http://bank.example.evil.example', 'bank.example.evil.example'],
    ['https://bank.example@evil.example/', 'https://bank.example@evil.example/', 'evil.example'],
    ['https://аpple.com', 'https://аpple.com', 'xn--pple-43d.com'],
    ['\u200bbank.example', 'https://evil.example', 'evil.example'],
    ['me@bank.example', 'mailto:me@evil.example', 'evil.example'],
  ])('say where %j leads to', (words, href, host) => {
    expect(otherHost(words, href)).toBe(host);
  });
  it.each([
    ['a bank', 'https://evil.example'],
    ['https://example.org/a', 'https://example.org/b'],
    ['example.org', 'https://www.example.org'],
    ['me@bank.example', 'mailto:me@bank.example'],
    ['README.md', 'https://example.org/README.md'],
  ])('say nothing of %j', (words, href) => {
    expect(otherHost(words, href)).toBeNull();
  });
});

describe('formulas', () => {
  it.each(['x^2', 'a_1', '\\alpha', ' n ', 'a - b'])('%j is one', (source) => expect(isFormula(source)).toBe(true));
  it.each(['1', '5 and ', 'see notes', 'optional'])('%j is none', (source) => expect(isFormula(source)).toBe(false));
  it('that stay open take time in proportion to their number', () => {
    const cpuMs = (mark: string) => {
      const began = process.cpuUsage().user;
      drawn(mark.repeat(8_000));
      return (process.cpuUsage().user - began) / 1_000;
    };
    cpuMs('a\n'); // Once for the compiler.
    expect(cpuMs('\\(\n')).toBeLessThan(4 * cpuMs('a\n') + 500);
  }, 60_000);
  it('are kept in lists, tables and over lines', () => {
    const html = drawn('- \\(a*b*c\\)\n\n| \\(x_1*y_1*z\\) |\n|---|\n\n\\[\na*b\n= c*d\n\\]\n');
    expect(html).not.toContain('<em>');
    expect(html).toContain('\\(a*b*c\\)');
  });
});

describe('what cannot be seen', () => {
  const said = (text: string, isLine = false) => piecesOf(text, isLine).map((piece) => piece.shown ?? piece.text).join('');
  it.each([
    ['a\u202eb', 'aU+202Eb'],
    ['a\u{e0041}b', 'aU+E0041b'],
    ['a\u0000b', 'aU+0000b'],
    ['a\ud800b', 'aU+D800b'],
    ['a\u200db', 'aU+200Db'],
    ['a\u3164', 'aU+3164'],
    ['a\n\n\n\n\nb', 'a4 empty linesb'],
  ])('%j is made visible', (text, shownText) => expect(said(text)).toBe(shownText));
  it('within a line, its ends are, too', () => expect(said('a\nb\tc', true)).toBe('a⏎b⇥c'));
  it.each(['👩‍👩‍👧', '❤️', '🏴', 'می\u200cخواهم', 'क्\u200dष', 'one\n\ntwo', 'a\r\nb'])('%j stays', (text) => {
    expect(said(text)).toBe(text);
    expect(said(`a ${text}`, !text.includes('\n'))).toBe(`a ${text}`);
  });
  it('a title of it is blank', () => {
    expect([isBlank('\u200b \u2060'), isBlank(''), isBlank('a')]).toEqual([true, true, false]);
  });
  it('is escaped in JSON, which stays the same value', () => {
    const value = { a: 'x\u202ey\u{e0041}', b: [1, '\u200b'] };
    expect(visibleJson(value)).toMatch(/^[\x20-\x7e\n]*$/);
    expect(JSON.parse(visibleJson(value))).toEqual(value);
  });
  it('heaps of marks are counted', () => expect(withoutHeaps(`a${'\u0301'.repeat(1_000)}`)).toContain('[976 more marks]'));
});
