/** Colours for code, loaded when the first code block is on the screen. Rule: returns a tree, never HTML; an unknown language stays plain. */
import bash from 'highlight.js/lib/languages/bash';
import c from 'highlight.js/lib/languages/c';
import cpp from 'highlight.js/lib/languages/cpp';
import css from 'highlight.js/lib/languages/css';
import diff from 'highlight.js/lib/languages/diff';
import go from 'highlight.js/lib/languages/go';
import java from 'highlight.js/lib/languages/java';
import javascript from 'highlight.js/lib/languages/javascript';
import json from 'highlight.js/lib/languages/json';
import markdown from 'highlight.js/lib/languages/markdown';
import python from 'highlight.js/lib/languages/python';
import rust from 'highlight.js/lib/languages/rust';
import sql from 'highlight.js/lib/languages/sql';
import typescript from 'highlight.js/lib/languages/typescript';
import xml from 'highlight.js/lib/languages/xml';
import yaml from 'highlight.js/lib/languages/yaml';
import { createLowlight } from 'lowlight';

const lowlight = createLowlight({
  bash, c, cpp, css, diff, go, java, javascript, json, markdown, python, rust, sql, typescript, xml, yaml,
});
lowlight.registerAlias({ bash: ['sh', 'shell', 'zsh', 'console'], xml: ['html', 'svg', 'vue'], typescript: ['tsx'], javascript: ['jsx'] });

export interface Piece {
  text: string;
  classes: string;
}

/** Returns the lines' pieces with their classes, one after the other; nothing for a language that is not known. */
export function pieces(code: string, lang: string): Piece[] | null {
  if (!lowlight.registered(lang)) return null;
  const found: Piece[] = [];
  flatten(lowlight.highlight(lang, code).children, '', found);
  return found;
}

type Nodes = ReturnType<typeof lowlight.highlight>['children'];

function flatten(nodes: Nodes, classes: string, into: Piece[]): void {
  for (const node of nodes) {
    if (node.type === 'text') into.push({ text: node.value, classes });
    else if (node.type === 'element') {
      const own = node.properties.className;
      flatten(node.children as Nodes, Array.isArray(own) ? own.join(' ') : classes, into);
    }
  }
}
