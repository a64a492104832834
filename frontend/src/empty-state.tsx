/** What is shown where there is no conversation yet, or none any more. */
import { useStatus } from './settings/hooks';
import { Button } from './ui/button';
import { sentence } from './ui/format';
import { Icon, type IconName, Mark } from './ui/icon';

const BEGINNINGS: { icon: IconName; title: string; text: string }[] = [
  { icon: 'spark', title: 'Roll the dice', text: 'Roll 4d6, drop the lowest, and tell me what I got.' },
  { icon: 'file', title: 'Write a file', text: 'Write a short haiku about the sea and save it as haiku.md.' },
  { icon: 'bulb', title: 'Remember something', text: 'Remember that I like short answers with an example.' },
  { icon: 'tool', title: 'Ask what it can do', text: 'What can you do here? Name your tools in one line each.' },
];

export function EmptyState({ choose }: { choose: (text: string) => void }) {
  const { value: status, error, reload } = useStatus();
  return (
    <section className="empty" aria-label="New conversation">
      <div className="empty-inner">
        <Mark size={52} />
        <h1>The stage is yours</h1>
        <p className="empty-lead">Say something, or begin with one of these.</p>
        <ul className="beginnings">
          {BEGINNINGS.map((each) => (
            <li key={each.title}>
              <button type="button" onClick={() => choose(each.text)}>
                <Icon name={each.icon} />
                <span>
                  <strong>{each.title}</strong>
                  <small>{each.text}</small>
                </span>
              </button>
            </li>
          ))}
        </ul>
        {status?.notices.map((notice) => (
          <div key={notice.code} className="notice" role="note">
            <Icon name="bulb" />
            <p>
              {notice.text}
              {notice.hint && <span className="notice-hint">{sentence(notice.hint)}</span>}
            </p>
          </div>
        ))}
        {error && !status && (
          <div className="notice" role="alert">
            <Icon name="warning" />
            <p>
              {error.message}
              {error.hint && <span className="notice-hint">{error.hint}</span>}
            </p>
            <Button onClick={reload}>Try again</Button>
          </div>
        )}
      </div>
    </section>
  );
}

export function Missing({ open }: { open: (sessionId: null) => void }) {
  return (
    <section className="empty" aria-label="No such session">
      <div className="empty-inner">
        <Mark size={52} />
        <h1>Nobody here</h1>
        <p className="empty-lead">There is no session at this address: it was deleted, or it is somebody else’s.</p>
        <Button kind="primary" onClick={() => open(null)}>
          New conversation
        </Button>
      </div>
    </section>
  );
}

/** Shown when the server wants to know who asks. */
export function Locked() {
  return (
    <main className="empty locked">
      <div className="empty-inner">
        <Mark size={52} />
        <h1>This door has a key</h1>
        <p className="empty-lead">
          Open the link that <code>greenroom serve</code> printed in its terminal, or paste it (or the token in it) here.
        </p>
        <form
          className="key-form"
          onSubmit={(event) => {
            event.preventDefault();
            const given = String(new FormData(event.currentTarget).get('key') ?? '').trim();
            const token = /[?&]token=([^&\s]+)/.exec(given)?.[1] ?? encodeURIComponent(given);
            if (token) location.assign(`/?token=${token}`);
          }}
        >
          <input name="key" type="password" aria-label="Link or token" autoComplete="off" autoFocus />
          <button type="submit" className="button button-primary">
            Open
          </button>
        </form>
      </div>
    </main>
  );
}
