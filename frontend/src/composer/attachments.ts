/** Files that go along with a message. Rule: the server's bounds are told before anything is sent. */
import type { FileUIPart } from 'ai';
import { bytes } from '../ui/format';

export const ATTACHMENTS_MAX = 16;
export const ATTACHMENT_BYTES_MAX = 10 * 1024 * 1024;

/** Reads files; returns what can be sent, and in words what cannot. */
export async function readFiles(files: readonly File[], alreadyThere: number): Promise<{ parts: FileUIPart[]; problems: string[] }> {
  const problems: string[] = [];
  const parts: FileUIPart[] = [];
  for (const file of files) {
    if (alreadyThere + parts.length >= ATTACHMENTS_MAX) {
      problems.push(`At most ${ATTACHMENTS_MAX} attachments go along with a message`);
      break;
    }
    if (file.size > ATTACHMENT_BYTES_MAX)
      problems.push(`${file.name} has ${bytes(file.size)}; an attachment may have ${bytes(ATTACHMENT_BYTES_MAX)}`);
    else if (file.size === 0) problems.push(`${file.name} is empty`);
    else {
      try {
        const mediaType = mediaTypeOf(file);
        const url = await dataUrl(file);
        parts.push({ type: 'file', mediaType, filename: file.name, url: url.replace(/^data:[^;,]*/, `data:${mediaType}`) });
      } catch {
        problems.push(`${file.name} cannot be read (is it a folder?)`);
      }
    }
  }
  return { parts, problems };
}

export function mediaTypeOf(file: { name: string; type: string }): string {
  if (file.type) return file.type.split(';')[0] ?? file.type;
  return TEXT_ENDINGS.has(file.name.split('.').at(-1)?.toLowerCase() ?? '') ? 'text/plain' : 'application/octet-stream';
}

const TEXT_ENDINGS = new Set(
  'c cc cfg conf cpp css csv go h html ini java js json jsx log md py rb rs sh sql toml ts tsx txt xml yaml yml'.split(' '),
);

function dataUrl(file: File): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error('unreadable'));
    reader.readAsDataURL(file);
  });
}
