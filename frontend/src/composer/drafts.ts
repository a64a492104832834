/** What somebody has begun to write, kept until it is sent: a closed tab loses nothing. Rule: a full or forbidden storage is no reason to stop. */

const PREFIX = 'greenroom:draft:';
const KEPT_MAX = 50;

export function loadDraft(key: string): string {
  try {
    return localStorage.getItem(PREFIX + key) ?? '';
  } catch {
    return '';
  }
}

export function saveDraft(key: string, text: string): void {
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
