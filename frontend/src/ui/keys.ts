/**
 * Keys that belong to an input method: while words of Chinese, Japanese or Korean are being chosen, Enter, Escape and the arrows are
 * the input method's. Chromium and Firefox say so by `isComposing`, old engines by key code 229. Safari ends the composition before it
 * tells of the key that ended it: that key comes with code 229 there, or within the same moment.
 *
 * Rule: every handler of keys asks here first; no key of a composition does anything.
 */

interface KeyLike {
  isComposing?: boolean;
  keyCode?: number;
  timeStamp?: number;
  nativeEvent?: { isComposing?: boolean; keyCode?: number; timeStamp?: number };
}

/** In Safari the key that ends a composition is told within a few milliseconds after its end; fingers are slower. */
const SAME_MOMENT_MS = 30;
const OF_INPUT_METHOD = 229;

let endedAt = -Infinity;

/** Listens for the ends of compositions; returns the way to end it. */
export function watchCompositions(target: EventTarget): () => void {
  const ended = (event: Event) => {
    endedAt = event.timeStamp;
  };
  target.addEventListener('compositionend', ended, true);
  return () => target.removeEventListener('compositionend', ended, true);
}

/** Whether a key (as the browser or React tells it) belongs to an input method. */
export function isOfInputMethod(event: KeyLike): boolean {
  const { isComposing, keyCode, timeStamp } = event.nativeEvent ?? event;
  const isEnd = timeStamp !== undefined && timeStamp >= endedAt && timeStamp - endedAt < SAME_MOMENT_MS;
  return isComposing === true || keyCode === OF_INPUT_METHOD || isEnd;
}
