/**
 * What a model says, as Markdown. It is data from outside: no HTML of it is ever rendered, links open elsewhere and tell nothing,
 * and pictures are shown only from this session's workspace; others become links, so that looking at an answer calls nobody.
 *
 * Rule: a text becomes elements here, and only those named below; nothing is set as HTML.
 */
import { type ComponentProps, createContext, memo, use, useRef } from 'react';
import ReactMarkdown, { type Components } from 'react-markdown';
import remarkGfm from 'remark-gfm';
import { filePath } from '../api/routes';
import { type Block, type Cut, cut } from './blocks';
import { CodeBlock } from './code-block';

/** The session whose workspace pictures come from. */
export const SessionContext = createContext('');

const PLUGINS = [remarkGfm];

export const Markdown = memo(function Markdown({ text }: { text: string }) {
  const before = useRef<Cut>(undefined);
  const now = cut(text, before.current);
  before.current = now;
  const groups: Block[][] = [];
  for (let at = 0; at < now.blocks.length; at += GROUP) groups.push(now.blocks.slice(at, at + GROUP));
  return (
    <div className="prose">
      {groups.map((group, at) => (
        <Group key={at} blocks={group} />
      ))}
    </div>
  );
});

/** So many blocks are compared, laid out and painted together: of a long answer only the last group is touched. */
const GROUP = 16;

const Group = memo(
  function Group({ blocks }: { blocks: readonly Block[] }) {
    return (
      <div className="prose-group">
        {blocks.map((block) => (
          <DrawnBlock key={block.at} kind={block.kind} text={block.text} code={block.code} lang={block.lang} isOpen={block.isOpen} />
        ))}
      </div>
    );
  },
  (before, after) => before.blocks.length === after.blocks.length && before.blocks.every((block, at) => block === after.blocks[at]),
);

type DrawnBlockProps = { [Name in keyof Omit<Block, 'at'>]: Block[Name] | undefined };

const DrawnBlock = memo(function DrawnBlock({ kind, text, code = '', lang = '', isOpen = false }: DrawnBlockProps) {
  if (kind === 'code') return <CodeBlock code={code} lang={lang} isOpen={isOpen} />;
  return (
    <ReactMarkdown remarkPlugins={PLUGINS} components={COMPONENTS} urlTransform={safeUrl}>
      {text}
    </ReactMarkdown>
  );
});

const COMPONENTS: Components = {
  a: ({ href, children }) => <Link href={href}>{children}</Link>,
  img: ({ src, alt }) => <Picture src={typeof src === 'string' ? src : ''} alt={alt ?? ''} />,
  pre: ({ children }) => <>{children}</>,
  code: ({ className, children }) => {
    const text = String(children ?? '');
    const lang = /language-([\w+#.-]+)/.exec(className ?? '')?.[1];
    if (lang !== undefined || text.includes('\n')) return <CodeBlock code={text.replace(/\n$/, '')} lang={lang ?? ''} />;
    return <code className="inline-code">{children}</code>;
  },
  table: ({ children }) => (
    <div className="table" tabIndex={0} role="region" aria-label="Table">
      <table>{children}</table>
    </div>
  ),
  // A task list's boxes show a state; they cannot be ticked.
  input: ({ checked }: ComponentProps<'input'>) => <input type="checkbox" checked={Boolean(checked)} disabled readOnly aria-label={checked ? 'Done' : 'Not done'} />,
};

/** Only what a person may safely follow; everything else leads nowhere. */
export function safeUrl(url: string): string {
  if (/^(https?:|mailto:)/i.test(url)) return url;
  const isFile = /^[^:?#\\]+$/.test(url) && !url.startsWith('//') && !url.split('/').includes('..');
  return isFile ? url : '';
}

function Link({ href, children }: { href: string | undefined; children: React.ReactNode }) {
  const sessionId = use(SessionContext);
  if (!href) return <span>{children}</span>;
  const isFile = !/^(https?:|mailto:)/i.test(href);
  if (isFile && !sessionId) return <span>{children}</span>;
  return isFile ? (
    <a href={filePath(sessionId, relative(href))} download>
      {children}
    </a>
  ) : (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow ugc">
      {children}
    </a>
  );
}

function Picture({ src, alt }: { src: string; alt: string }) {
  const sessionId = use(SessionContext);
  if (/^https?:/i.test(src))
    return (
      <a className="outside-picture" href={src} target="_blank" rel="noopener noreferrer nofollow ugc">
        Picture: {alt || src}
      </a>
    );
  if (!src || !sessionId) return <span className="outside-picture">{alt || 'Picture'}</span>;
  return <img src={`${filePath(sessionId, relative(src))}?inline=1`} alt={alt} loading="lazy" />;
}

function relative(path: string): string {
  const plain = path.replace(/^(\.?\/)+/, '').replace(/^workspace\//, '');
  try {
    return decodeURIComponent(plain);
  } catch {
    return plain; // A stray percent sign is part of the name.
  }
}
