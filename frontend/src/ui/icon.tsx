/** The icons: lines on a 20 x 20 grid, drawn in the colour of the text. Rule: decoration only; whoever shows one says it in words. */

const PATHS = {
  door: 'M11 4H4.5v12H11M8.5 10h8M13.5 7l3 3-3 3',
  plus: 'M10 4v12M4 10h12',
  search: 'M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11ZM13 13l3.5 3.5',
  panel: 'M3.5 4.5h13v11h-13zM8 4.5v11',
  files: 'M3.5 5.5h4.5l1.5 2h7v8h-13z',
  more: 'M5 10h.01M10 10h.01M15 10h.01',
  send: 'M10 16V4.5M5 9.5l5-5 5 5',
  stop: 'M6.5 6.5h7v7h-7z',
  clip: 'M14.5 9.5 9.8 14.2a3 3 0 0 1-4.3-4.3l5.4-5.4a2 2 0 0 1 2.9 2.9l-5.2 5.1a1 1 0 0 1-1.4-1.4l4.6-4.6',
  copy: 'M7.5 7.5h8v8h-8zM12.5 7.5v-3h-8v8h3',
  check: 'M4.5 10.5l3.5 3.5 7.5-8',
  close: 'M5 5l10 10M15 5 5 15',
  retry: 'M15.5 8A6 6 0 1 0 16 11M15.8 4v4h-4',
  edit: 'M4 16l.8-3.4 8.4-8.4 2.6 2.6-8.4 8.4zM11.8 5.6l2.6 2.6',
  branch: 'M6 4.5v11M6 11c5 0 8-1 8-5.5M12 7l2-2 2 2',
  down: 'M10 4v11M5 10.5l5 5 5-5',
  chevron: 'M7.5 5l5 5-5 5',
  caret: 'M6 8l4 4 4-4',
  tool: 'M12.5 3.8a3.8 3.8 0 0 0-4.6 5L3.5 13.2a1.6 1.6 0 0 0 2.3 2.3l4.4-4.4a3.8 3.8 0 0 0 5-4.6l-2.4 2.4-2-.4-.4-2z',
  bulb: 'M7.5 13.5c0-1.5-2-2.6-2-5.2a4.5 4.5 0 0 1 9 0c0 2.6-2 3.7-2 5.2zM8 16h4',
  download: 'M10 3.5v9M6 9l4 4 4-4M4 16.5h12',
  upload: 'M10 13V4M6 7.5l4-4 4 4M4 16.5h12',
  trash: 'M4 6h12M8 6V4h4v2M5.5 6l.8 10h7.4l.8-10',
  image: 'M3.5 4.5h13v11h-13zM3.5 13l3.5-3.5 3 3 2.5-2.5 4 4M12.7 7.7h.01',
  file: 'M5.5 3.5h6l3 3v10h-9zM11 3.5V7h3.5',
  folder: 'M3.5 5.5h4.5l1.5 2h7v8h-13z',
  warning: 'M10 3.5 17 16H3zM10 8.5v3.5M10 14h.01',
  person: 'M10 9.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM4 16.5c.6-3 3-4.5 6-4.5s5.4 1.5 6 4.5',
  spark: 'M10 3.5l1.6 4.9 4.9 1.6-4.9 1.6L10 16.5l-1.6-4.9L3.5 10l4.9-1.6z',
  import: 'M10 3.5v8M7 9l3 3 3-3M4.5 12.5v3.5h11v-3.5',
  keyboard: 'M2.5 5.5h15v9h-15zM5.5 8.5h.01M8.5 8.5h.01M11.5 8.5h.01M14.5 8.5h.01M6.5 11.5h7',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg className="icon" viewBox="0 0 20 20" width={size} height={size} aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** A stage door that stands ajar. */
export function Mark({ size = 28 }: { size?: number }) {
  return (
    <svg className="mark" viewBox="0 0 32 32" width={size} height={size} aria-hidden="true" focusable="false">
      <rect className="mark-ground" width="32" height="32" rx="8" />
      <path className="mark-light" d="M9 26V15a7 7 0 0 1 14 0v11z" />
      <path className="mark-door" d="M9 26V15a7 7 0 0 1 6.4-7c2 1.6 3.1 4 3.1 7.4V28z" />
      <circle className="mark-knob" cx="16" cy="18.5" r="1.1" />
    </svg>
  );
}
