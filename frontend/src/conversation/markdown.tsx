/**
 * What a model says, as Markdown. It is data from outside: no HTML of it is ever rendered, links open elsewhere and tell nothing,
 * and pictures are shown only from this session's workspace; others become links, so that looking at an answer calls nobody.
 *
 * Rule: a text becomes elements here, and only those named below; nothing is set as HTML.
 */
import { type ComponentProps, createContext, memo, startTransition, use, useEffect, useRef, useState } from 'react';
import ReactMarkdown, { type Components, type Options } from 'react-markdown';
import remarkGfm from 'remark-gfm';
import { filePath } from '../api/routes';
import { Boundary } from '../ui/boundary';
import { withoutHeaps } from '../ui/unseen';
import { type Block, type Cut, cut } from './blocks';
import { CodeBlock } from './code-block';
import { remarkAsMeant } from './tree';

/** The session whose workspace pictures come from. */
export const SessionContext = createContext('');

// A tilde is a tilde ("~5 to ~10 minutes"): only two of them strike through.
const GFM: NonNullable<Options['remarkPlugins']>[number] = [remarkGfm, { singleTilde: false }];
const IN_CHAT: Options['remarkPlugins'] = [GFM, [remarkAsMeant, { keepsBreaks: true }]];
const IN_FILES: Options['remarkPlugins'] = [GFM, remarkAsMeant];

/** So much is drawn at once; the rest of a longer text follows without holding up the page. */
const AT_ONCE = 20_000;

/** So many characters name a text while it grows: one that failed is not tried again with every piece. */
const NAMED_BY = 64;

interface MarkdownProps {
  text: string;
  /** The text is a file: the end of a line within a paragraph is a space. */
  isFile?: boolean;
}

export const Markdown = memo(function Markdown({ text, isFile = false }: MarkdownProps) {
  return (
    <Boundary of={text.slice(0, NAMED_BY)} fallback={() => <PlainText text={text} />}>
      <Prose text={text} isFile={isFile} />
    </Boundary>
  );
});

function Prose({ text, isFile }: Required<MarkdownProps>) {
  const [isWhole, setWhole] = useState(text.length <= AT_ONCE);
  useEffect(() => startTransition(() => setWhole(true)), []);
  const shown = isWhole ? text : text.slice(0, AT_ONCE);
  const before = useRef<Cut>(undefined);
  const now = cut(shown, before.current);
  before.current = now;
  const groups: Block[][] = [];
  for (let at = 0; at < now.blocks.length; at += GROUP) groups.push(now.blocks.slice(at, at + GROUP));
  return (
    <div className="prose">
      {groups.map((group, at) => (
        <Group key={at} blocks={group} isFile={isFile} />
      ))}
    </div>
  );
}

/** What cannot be drawn as Markdown is shown as it was written. */
export function PlainText({ text }: { text: string }) {
  return (
    <div className="plain-text" dir="auto">
      {withoutHeaps(text)}
    </div>
  );
}

/** So many blocks are compared, laid out and painted together: of a long answer only the last group is touched. */
const GROUP = 16;

const Group = memo(
  function Group({ blocks, isFile }: { blocks: readonly Block[]; isFile: boolean }) {
    return (
      <div className="prose-group">
        {blocks.map((block) => (
          <DrawnBlock
            key={block.at}
            kind={block.kind}
            text={block.kind === 'markdown' ? (block.lead ?? '') + block.text + (block.tail ?? '') : block.text}
            code={block.code}
            lang={block.lang}
            isOpen={block.isOpen}
            isFile={isFile}
          />
        ))}
      </div>
    );
  },
  (before, after) => before.blocks.length === after.blocks.length && before.blocks.every((block, at) => block === after.blocks[at]),
);

interface DrawnBlockProps {
  kind: Block['kind'];
  text: string;
  code: string | undefined;
  lang: string | undefined;
  isOpen: boolean | undefined;
  isFile: boolean;
}

const DrawnBlock = memo(function DrawnBlock({ kind, text, code = '', lang = '', isOpen = false, isFile }: DrawnBlockProps) {
  if (kind === 'code') return <CodeBlock code={code} lang={lang} isOpen={isOpen} />;
  if (kind === 'plain') return <PlainText text={text} />;
  return (
    <ReactMarkdown remarkPlugins={isFile ? IN_FILES : IN_CHAT} components={COMPONENTS} urlTransform={safeUrl}>
      {withoutHeaps(text)}
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
    return (
      <code className="inline-code" dir="ltr">
        {children}
      </code>
    );
  },
  table: ({ children, dir }) => (
    <div className="table" tabIndex={0} role="region" aria-label="Table">
      <table dir={dir}>{children}</table>
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
  if (isFile)
    return (
      <a href={filePath(sessionId, relative(href))} download>
        {children}
      </a>
    );
  const host = otherHost(wordsOf(children), href);
  return (
    <>
      <a href={href} title={href} target="_blank" rel="noopener noreferrer nofollow ugc">
        {children}
      </a>
      {host && <bdi className="true-host"> ({host})</bdi>}
    </>
  );
}

function wordsOf(children: React.ReactNode): string {
  if (typeof children === 'string' || typeof children === 'number') return String(children);
  if (Array.isArray(children)) return children.map(wordsOf).join('');
  const props = typeof children === 'object' && children !== null && 'props' in children ? (children.props as { children?: React.ReactNode }) : {};
  return props.children === undefined ? '' : wordsOf(props.children);
}

/** The name of a file looks like a host; it claims to be none. */
const FILE_NAME = /^[\w-]+\.(?:c|cpp|css|csv|go|h|html?|java|jpe?g|jsx?|json|md|mjs|pdf|png|py|rs|sh|svg|toml|tsx?|txt|xml|ya?ml|zip)$/i;

/** Where a link really leads, if its text looks like the address of another place. */
export function otherHost(words: string, href: string): string | null {
  const named = /^[\s\p{Cf}]*(?:https?:[/\\]{2})?(?:www\.)?((?:[\p{L}\p{N}-]{1,63}\.)+[\p{L}\p{N}-]{2,63})(?![\p{L}\p{N}.]*@)/iu.exec(words.slice(0, 300))?.[1];
  const mail = /^[\s\p{Cf}]*(?:mailto:)?[^\s@]{1,64}@([^\s@/]{1,255})/iu.exec(words.slice(0, 400))?.[1];
  try {
    const url = new URL(href);
    const isMail = url.protocol === 'mailto:';
    const host = isMail ? (url.pathname.split('@').at(-1) ?? '') : url.hostname.replace(/^www\./, '');
    const said = isMail ? mail : FILE_NAME.test(words.trim()) ? undefined : named;
    if (!said) return url.username || url.password ? host : null;
    const meant = new URL(`http://${said}`).hostname.replace(/^www\./, '');
    return meant === host && meant === said.toLowerCase() && !url.username ? null : host;
  } catch {
    return null; // Not an address that a browser follows, or a text that is none.
  }
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
