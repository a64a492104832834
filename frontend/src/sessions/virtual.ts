/** Which rows of a long list to draw. Rule: every row has the same height, so the place of a row is a multiplication. */
import { useCallback, useLayoutEffect, useRef, useState } from 'react';

const OVERSCAN = 8;

export function visibleRange(scrollTop: number, height: number, rowHeight: number, count: number): [number, number] {
  const from = Math.max(0, Math.floor(scrollTop / rowHeight) - OVERSCAN);
  const to = Math.min(count, Math.ceil((scrollTop + height) / rowHeight) + OVERSCAN);
  return [Math.min(from, to), to];
}

export function useVirtual(count: number, rowHeight: number) {
  const box = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState<[number, number]>([0, 40]);
  const measure = useCallback(() => {
    const element = box.current;
    if (!element) return;
    const next = visibleRange(element.scrollTop, element.clientHeight, rowHeight, count);
    setRange((now) => (now[0] === next[0] && now[1] === next[1] ? now : next));
  }, [count, rowHeight]);
  useLayoutEffect(() => {
    measure();
    const element = box.current;
    if (!element) return;
    const resized = new ResizeObserver(measure);
    resized.observe(element);
    return () => resized.disconnect();
  }, [measure]);
  const reveal = (index: number) => {
    const element = box.current;
    if (!element) return;
    const top = index * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top - rowHeight;
    else if (top + rowHeight > element.scrollTop + element.clientHeight) element.scrollTop = top + 2 * rowHeight - element.clientHeight;
    measure();
  };
  return { box, range, measure, reveal };
}
