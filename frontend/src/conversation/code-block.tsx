/** Code with its language, a button that copies it, and colours once they are loaded. Rule: the text is there at once; colours may follow. */
import { memo, useEffect, useState } from 'react';
import { IconButton } from '../ui/button';
import { useCopy } from '../ui/copy';
import { Seen, withoutHeaps } from '../ui/unseen';
import type { Piece } from './highlight';

const COLOURED_MAX = 60_000;
/** While it grows, code is coloured anew with every piece: only as long as that is cheap. */
const COLOURED_OPEN_MAX = 4_000;

interface CodeBlockProps {
  code: string;
  lang: string;
  isOpen?: boolean;
  /** No colours, and what cannot be seen is made visible. */
  isPlain?: boolean;
}

export const CodeBlock = memo(function CodeBlock({ code, lang, isOpen = false, isPlain = false }: CodeBlockProps) {
  const coloured = useColours(code, isPlain || withoutHeaps(code) !== code ? '' : lang, isOpen);
  const [isCopied, copy] = useCopy();
  return (
    <figure className="code" dir="ltr" aria-label={lang ? `Code, ${lang}` : 'Code'}>
      <figcaption className="code-head">
        <span>{lang || 'text'}</span>
        <IconButton
          icon={isCopied ? 'check' : 'copy'}
          label={isCopied ? 'Copied' : 'Copy code'}
          onClick={() => copy(code)}
        />
      </figcaption>
      {/* A block that scrolls can be reached, and scrolled, by keyboard. */}
      <pre tabIndex={0}>
        <code>
          {coloured
            ? coloured.map((piece, at) =>
                piece.classes ? (
                  <span key={at} className={piece.classes}>
                    {piece.text}
                  </span>
                ) : (
                  piece.text
                ),
              )
            : isPlain ? <Seen text={code} /> : withoutHeaps(code)}
        </code>
      </pre>
    </figure>
  );
});

type Highlight = typeof import('./highlight');
let loaded: Highlight | null = null;

function useColours(code: string, lang: string, isOpen: boolean): Piece[] | null {
  const [highlight, setHighlight] = useState(loaded);
  const isWanted = lang !== '' && code.length <= (isOpen ? COLOURED_OPEN_MAX : COLOURED_MAX);
  useEffect(() => {
    if (!isWanted || highlight) return;
    let isHere = true;
    import('./highlight').then(
      (module) => {
        loaded = module;
        if (isHere) setHighlight(module);
      },
      () => undefined, // Without colours it can still be read.
    );
    return () => {
      isHere = false;
    };
  }, [isWanted, highlight]);
  return isWanted && highlight ? highlight.pieces(code, lang) : null;
}
