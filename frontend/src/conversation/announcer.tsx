/**
 * Reads an answer to those who hear the page: sentence by sentence as it comes, not letter by letter. Rule: what was said is not said
 * again, also when the answer is replayed.
 */
import { useEffect, useRef, useState } from 'react';
import { type Message, isToolPart, textOf } from '../chat/messages';
import { withoutHeaps } from '../ui/unseen';
import { toolTitle } from './values';
import { getToolName } from 'ai';

const EVERY_MS = 1_500;
/** So many characters are read at a time; who wants all of a longer text reads the message itself. */
const SPOKEN_MAX = 4_000;

export function Announcer({ message, isLive }: { message: Message | undefined; isLive: boolean }) {
  const said = useRef({ id: '', characters: 0, tools: 0 });
  const latest = useRef(message);
  latest.current = message;
  const [line, setLine] = useState('');

  useEffect(() => {
    if (!isLive) return;
    const speak = (isEnd: boolean) => {
      const now = latest.current;
      if (now?.role !== 'assistant') return;
      if (said.current.id !== now.id) said.current = { id: now.id, characters: 0, tools: 0 };
      const text = textOf(now);
      const fresh = text.slice(said.current.characters);
      const end = isEnd ? fresh.length : sentenceEnd(fresh);
      const tools = now.parts.filter(isToolPart);
      const started = tools.slice(said.current.tools).map((part) => `${toolTitle(getToolName(part))}, tool.`);
      said.current.characters += end;
      said.current.tools = tools.length;
      const words = [...started, spoken(fresh.slice(0, Math.min(end, SPOKEN_MAX))), isEnd ? 'End of the answer.' : ''].filter(Boolean).join(' ');
      if (words) setLine(words);
    };
    const timer = setInterval(() => speak(false), EVERY_MS);
    return () => {
      clearInterval(timer);
      speak(true);
    };
  }, [isLive]);

  return (
    <div className="visually-hidden" aria-live="polite" aria-atomic="true" data-announcer>
      {line}
    </div>
  );
}

/** Where the last whole sentence ends. */
export function sentenceEnd(text: string): number {
  let end = 0;
  for (const found of text.matchAll(/[.!?:;](?=\s)|\n\n/g)) end = found.index + found[0].length;
  return end;
}

/** Markdown without its marks; code is named, not read. */
export function spoken(text: string): string {
  return withoutHeaps(text)
    .replace(/```[\s\S]*?(```|$)/g, ' Code. ')
    .replace(/!?\[([^\]\n]{0,300})\]\([^)\n]{0,2000}\)/g, '$1')
    .replace(/[*_`#>|~]+/g, '')
    .replace(/\s+/g, ' ')
    .trim();
}
