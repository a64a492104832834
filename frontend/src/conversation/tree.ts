/**
 * What is done to Markdown between parsing and drawing: formulas and line breaks stay as they were written, bare addresses end where
 * people end them, and what is nested too deeply is text.
 *
 * Rule: no step calls itself, so no text overflows the stack.
 */
import { formulaSyntax } from './formulas';

interface Node {
  type: string;
  value?: string;
  url?: string;
  children?: Node[];
  position?: { start: { offset?: number }; end: { offset?: number } };
  data?: Record<string, unknown>;
}

interface Processor {
  data: () => Record<string, unknown>;
}

interface Token {
  start: { offset: number };
}

interface Compiler {
  enter: (node: Node, token: Token) => void;
  exit: (token: Token) => void;
  stack: Node[];
  sliceSerialize: (token: Token) => string;
}

/** Deeper than this is drawn as text: far below what a browser lays out, far above what people write. */
export const TREE_DEPTH_MAX = 100;

/** A plugin for remark. `keepsBreaks`: the end of a line is one, as people mean it in a chat; in files it is a space. */
export function remarkAsMeant(this: unknown, { keepsBreaks = false }: { keepsBreaks?: boolean } = {}) {
  const data = (this as Processor).data();
  ((data['micromarkExtensions'] ??= []) as unknown[]).push(formulaSyntax);
  ((data['fromMarkdownExtensions'] ??= []) as unknown[]).push(formulaToTree);
  return (tree: Node, file: { value?: unknown }): void => tidy(tree, String(file.value ?? ''), keepsBreaks);
}

const formulaToTree = {
  enter: {
    formula(this: Compiler, token: Token) {
      this.enter({ type: 'formula', value: '' }, token);
    },
  },
  exit: {
    formula(this: Compiler, token: Token) {
      const node = this.stack[this.stack.length - 1];
      const source = this.sliceSerialize(token);
      if (node) {
        node.value = source;
        node.data = { hName: 'span', hProperties: { className: ['formula'], dir: 'ltr' }, hChildren: [{ type: 'text', value: source }] };
      }
      this.exit(token);
    },
  },
};

function tidy(tree: Node, source: string, keepsBreaks: boolean): void {
  // Each block that stands on its own goes in the direction of its first letter; what is within it follows by `unicode-bidi`.
  for (const block of tree.children ?? []) block.data = { ...block.data, hProperties: { dir: 'auto' } };
  const waiting: [node: Node, depth: number][] = [[tree, 0]];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [node, depth] = next;
    if (!node.children) continue;
    if (depth >= TREE_DEPTH_MAX) {
      node.children = [{ type: 'text', value: sourceOf(node, source) }];
      continue;
    }
    node.children = node.children.flatMap((child) => {
      if (keepsBreaks && child.type === 'text' && child.value?.includes('\n')) return withBreaks(child.value);
      if (child.type === 'link') return endedLink(child, source);
      return [child];
    });
    for (const child of node.children) waiting.push([child, depth + 1]);
  }
}

function sourceOf(node: Node, source: string): string {
  return source.slice(node.position?.start.offset ?? 0, node.position?.end.offset ?? 0);
}

function withBreaks(text: string): Node[] {
  return text.split('\n').flatMap((line, at) => (at ? [{ type: 'break' }, { type: 'text', value: line }] : [{ type: 'text', value: line }]));
}

/** Where a sentence ends in scripts that put no space behind an address. */
const WIDE_END = /[\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f\u3008-\u3011\u300e\u300f\u2018-\u201f\u2026]/;

/** A bare address in the middle of Chinese or Japanese ends at their punctuation. */
function endedLink(link: Node, source: string): Node[] {
  const [only] = link.children ?? [];
  const isBare = link.children?.length === 1 && only?.type === 'text' && sourceOf(link, source) === only.value;
  const at = isBare ? (only.value ?? '').search(WIDE_END) : -1;
  if (at < 1 || !only?.value) return [link];
  const address = only.value.slice(0, at);
  const url = /^[a-z][a-z\d+.-]*:/i.test(address) ? address : `${address.includes('@') ? 'mailto:' : 'http://'}${address}`;
  return [{ ...link, url, children: [{ type: 'text', value: address }] }, { type: 'text', value: only.value.slice(at) }];
}
