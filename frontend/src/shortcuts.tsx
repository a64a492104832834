/** What the keyboard can do. */
import { Dialog } from './ui/dialog';

const isMac = /Mac|iPhone|iPad/.test(navigator.userAgent);
const COMMAND = isMac ? '⌘' : 'Ctrl';

const KEYS: [string, string[]][] = [
  ['Send the message', ['Enter']],
  ['A new line', ['Shift', 'Enter']],
  ['Stop the answer', ['Esc']],
  ['Edit the last message (in an empty field)', ['↑']],
  ['Write', ['/']],
  ['Find a session', [COMMAND, 'K']],
  ['New conversation', [COMMAND, 'Shift', 'O']],
  ['Files', [COMMAND, '.']],
  ['Rename, delete a session in the list', ['F2', 'Del']],
  ['This list', ['?']],
];

export function Shortcuts({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose}>
      <dl className="keys">
        {KEYS.map(([what, keys]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
