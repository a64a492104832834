/** How a file of the workspace is shown, by the end of its name. Rule: what is not known to be safe to show is only downloaded. */

export type Kind = 'image' | 'markdown' | 'text' | 'other';

const IMAGES = new Set(['gif', 'jpeg', 'jpg', 'png', 'webp']);
const OTHERS = new Set(
  '7z avi bin bmp bz2 class db dll doc docx exe flac gguf gz ico jar m4a mkv mov mp3 mp4 npy o ogg parquet pdf pickle pkl ppt pptx pyc so sqlite tar tgz ttf wasm wav webm woff woff2 xls xlsx xz zip'.split(' '),
);

export function kindOf(path: string): Kind {
  const end = endOf(path);
  if (IMAGES.has(end)) return 'image';
  if (end === 'md' || end === 'markdown') return 'markdown';
  return OTHERS.has(end) ? 'other' : 'text';
}

export function languageOf(path: string): string {
  const end = endOf(path);
  return LANGUAGES[end] ?? end;
}

const LANGUAGES: Record<string, string> = {
  py: 'python', js: 'javascript', mjs: 'javascript', cjs: 'javascript', ts: 'typescript', rs: 'rust', yml: 'yaml',
  h: 'c', cc: 'cpp', hpp: 'cpp', htm: 'html', patch: 'diff', zsh: 'bash', txt: '', log: '',
};

function endOf(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const dot = name.lastIndexOf('.');
  return dot > 0 ? name.slice(dot + 1).toLowerCase() : '';
}
