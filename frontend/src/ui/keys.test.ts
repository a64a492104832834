/** Case W2 of `front-ends.md` (nearai/ironclaw#1139, DeepSeek-Reasonix#7919). */
import { afterEach, describe, expect, it } from 'vitest';
import { isOfInputMethod, watchCompositions } from './keys';

const page = new EventTarget();
const stop = watchCompositions(page);

function ended(at: number): void {
  const event = new Event('compositionend');
  Object.defineProperty(event, 'timeStamp', { value: at });
  page.dispatchEvent(event);
}

describe('a key belongs to an input method', () => {
  afterEach(() => ended(-1_000));

  it('where the browser says so', () => {
    expect(isOfInputMethod({ isComposing: true, keyCode: 13, timeStamp: 0 })).toBe(true);
    expect(isOfInputMethod({ nativeEvent: { isComposing: true, keyCode: 27, timeStamp: 0 } })).toBe(true);
  });
  it('where only its code says so', () => {
    expect(isOfInputMethod({ isComposing: false, keyCode: 229, timeStamp: 0 })).toBe(true);
  });
  it("in Safari's order: the end of the composition comes before the key that ended it", () => {
    ended(2_000);
    expect(isOfInputMethod({ isComposing: false, keyCode: 13, timeStamp: 2_004 })).toBe(true);
    expect(isOfInputMethod({ isComposing: false, keyCode: 13, timeStamp: 2_100 })).toBe(false);
  });
  it('and no other key does', () => {
    expect(isOfInputMethod({ isComposing: false, keyCode: 13, timeStamp: 5_000 })).toBe(false);
    stop();
  });
});
