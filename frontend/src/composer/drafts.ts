/** What somebody has begun to write, kept until it is sent: a closed tab loses nothing. Rule: a full or forbidden storage is no reason to stop. */

const PREFIX = 'greenroom:draft:';
const KEPT_MAX = 50;

let isForgotten = false;

/** Forgets all drafts, and keeps none until the page is loaded again: a person has logged out, and the next may be another. */
export function forgetDrafts(): void {
  isForgotten = true;
  try {
    for (const name of Object.keys(localStorage)) if (name.startsWith(PREFIX)) localStorage.removeItem(name);
  } catch {
    // Then none was kept.
  }
}

export function loadDraft(key: string): string {
  try {
    return localStorage.getItem(PREFIX + key) ?? '';
  } catch {
    return '';
  }
}

export function saveDraft(key: string, text: string): void {
  if (isForgotten) return;
  try {
    localStorage.removeItem(PREFIX + key);
    if (!text) return;
    const kept = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
    for (const name of kept.slice(0, Math.max(0, kept.length - KEPT_MAX + 1))) localStorage.removeItem(name);
    localStorage.setItem(PREFIX + key, text);
  } catch {
    // Then it is only kept while the page is open.
  }
}
