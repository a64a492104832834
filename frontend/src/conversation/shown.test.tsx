import { renderToStaticMarkup } from 'react-dom/server';
import { describe, expect, it } from 'vitest';
import { sentenceEnd, spoken } from './announcer';
import { pieces } from './highlight';
import { Markdown, SessionContext, safeUrl } from './markdown';
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
    expect(shown('{"a":1}')).toEqual({ kind: 'code', text: '{\n  "a": 1\n}', lang: 'json' });
    expect(shown('{broken')).toEqual({ kind: 'code', text: '{broken', lang: '' });
    expect(shown([])).toMatchObject({ kind: 'code' });
    expect(shown({})).toEqual({ kind: 'none' });
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
