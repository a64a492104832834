/**
 * Keeps the end of a conversation in view while it grows, unless the reader has scrolled away. Rule: only the reader moves away from the
 * end, and only the reader (or what they send) brings them back.
 */
import { useCallback, useEffect, useRef, useState } from 'react';
import { isOfInputMethod } from '../ui/keys';

const NEAR_PX = 32;
/** Scroll events come late: for so long after somebody has left the end, one may still be ours. */
const SETTLED_MS = 300;

export function useStick(): {
  scroller: React.RefCallback<HTMLElement>;
  isAtEnd: boolean;
  toEnd: (smoothly?: boolean) => void;
} {
  const element = useRef<HTMLElement | null>(null);
  const isStuck = useRef(true);
  const [isAtEnd, setAtEnd] = useState(true);
  const undo = useRef<() => void>(() => undefined);

  const toEnd = useCallback((smoothly = false) => {
    isStuck.current = true;
    setAtEnd(true);
    const box = element.current;
    const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    box?.scrollTo({ top: box.scrollHeight, behavior: smoothly && !isCalm ? 'smooth' : 'instant' });
  }, []);

  const scroller = useCallback((box: HTMLElement | null) => {
    undo.current();
    element.current = box;
    if (!box) return;
    let leftAt = -SETTLED_MS;
    let lastTop = box.scrollTop;
    let lastHeight = box.scrollHeight;
    const scrolled = () => {
      const isNear = box.scrollHeight - box.scrollTop - box.clientHeight <= NEAR_PX;
      const isUp = box.scrollTop < lastTop - 1 && box.scrollHeight >= lastHeight;
      if (isUp) isStuck.current = false;
      else if (isNear && box.scrollTop > lastTop && performance.now() - leftAt > SETTLED_MS) isStuck.current = true;
      lastTop = box.scrollTop;
      lastHeight = box.scrollHeight;
      setAtEnd(isStuck.current);
    };
    // A wheel or a finger moves in small steps, each of which growing text would undo: the intention counts.
    const away = () => {
      if (box.scrollHeight <= box.clientHeight) return;
      isStuck.current = false;
      leftAt = performance.now();
      setAtEnd(false);
    };
    const wheeled = (event: WheelEvent) => event.deltaY < 0 && away();
    let fingerY = 0;
    const touched = (event: TouchEvent) => {
      fingerY = event.touches[0]?.clientY ?? 0;
    };
    const dragged = (event: TouchEvent) => (event.touches[0]?.clientY ?? 0) > fingerY + 4 && away();
    const pressed = (event: KeyboardEvent) => !isOfInputMethod(event) && ['ArrowUp', 'PageUp', 'Home'].includes(event.key) && event.target === box && away();
    const grown = new ResizeObserver(() => {
      if (isStuck.current) box.scrollTop = box.scrollHeight;
      lastHeight = box.scrollHeight;
    });
    const content = box.firstElementChild;
    if (content) grown.observe(content);
    grown.observe(box);
    box.addEventListener('scroll', scrolled, { passive: true });
    box.addEventListener('wheel', wheeled, { passive: true });
    box.addEventListener('touchstart', touched, { passive: true });
    box.addEventListener('touchmove', dragged, { passive: true });
    box.addEventListener('keydown', pressed);
    box.scrollTop = box.scrollHeight;
    undo.current = () => {
      grown.disconnect();
      box.removeEventListener('scroll', scrolled);
      box.removeEventListener('wheel', wheeled);
      box.removeEventListener('touchstart', touched);
      box.removeEventListener('touchmove', dragged);
      box.removeEventListener('keydown', pressed);
    };
  }, []);

  useEffect(() => () => undo.current(), []);
  return { scroller, isAtEnd, toEnd };
}
