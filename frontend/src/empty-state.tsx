/** What is shown where there is no conversation yet, or none any more. */
import { useEffect } from 'react';
import { useStatus } from './settings/hooks';
import { Button } from './ui/button';
import { advice } from './ui/format';
import { Icon, type IconName, Mark } from './ui/icon';

interface Beginning {
  icon: IconName;
  title: string;
  text: string;
}

const WITH_TOOLS: Beginning[] = [
  { icon: 'spark', title: 'Roll the dice', text: 'Roll 4d6, drop the lowest, and tell me what I got.' },
  { icon: 'file', title: 'Write a file', text: 'Write a short haiku about the sea and save it as haiku.md.' },
  { icon: 'bulb', title: 'Remember something', text: 'Remember that I like short answers with an example.' },
  { icon: 'tool', title: 'Ask what it can do', text: 'What can you do here? Name your tools in one line each.' },
];

/** For the model that comes along: short questions, which it answers about as well as it can, and which need no tools. */
const FOR_DEMO: Beginning[] = [
  { icon: 'search', title: 'Ask a fact', text: 'What is the capital of France?' },
  { icon: 'bulb', title: 'Have something explained', text: 'Explain in two sentences why the sky is blue.' },
  { icon: 'spark', title: 'Wonder about something', text: 'What is a black hole? Answer in two sentences.' },
  { icon: 'person', title: 'Ask for advice', text: 'Suggest a simple breakfast in one sentence.' },
];

/** `backend` is who will answer. */
export function EmptyState({ backend, choose }: { backend: string; choose: (text: string) => void }) {
  const { value: status, error, reload } = useStatus();
  const isDemo = status?.default.is_demo === true && backend === status.default.backend;
  const beginnings = status ? (isDemo ? FOR_DEMO : WITH_TOOLS) : [];
  return (
    <section className="empty" aria-label="New conversation">
      <div className="empty-inner">
        <Mark size={52} />
        <h1>The stage is yours</h1>
        <p className="empty-lead">Say something, or begin with one of these.</p>
        <ul className="beginnings">
          {beginnings.map((each) => (
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
        {status?.notices.map((notice) =>
          notice.code === 'local_demo_model' ? (isDemo && <DemoNote key={notice.code} />) : (
          <div key={notice.code} className="notice" role="note">
            <Icon name="bulb" />
            <p>
              {notice.text}
              {notice.hint && <span className="notice-hint">{advice(notice.hint)}</span>}
            </p>
          </div>
          ),
        )}
        {error && !status && (
          <div className="notice" role="alert">
            <Icon name="warning" />
            <p>
              {error.message}
              {error.hint && <span className="notice-hint">{advice(error.hint)}</span>}
            </p>
            <Button onClick={reload}>Try again</Button>
          </div>
        )}
      </div>
    </section>
  );
}

/** What a real model needs: said once, and calmly. */
function DemoNote() {
  return (
    <p className="demo-note" role="note">
      A small model for demonstrations answers here: expect wrong answers, and no tools. For a real one, start the server with{' '}
      <code>OPENAI_API_KEY</code> or <code>ANTHROPIC_API_KEY</code> set, or run Ollama beside it.
    </p>
  );
}

export function Missing({ open }: { open: (sessionId: null) => void }) {
  return (
    <section className="empty" aria-label="No such session">
      <div className="empty-inner">
        <Mark size={52} />
        <h1>Nobody here</h1>
        <p className="empty-lead">There is no session at this address: it was deleted, or it belongs to another user.</p>
        <Button kind="primary" onClick={() => open(null)}>
          New conversation
        </Button>
      </div>
    </section>
  );
}

const RELOADED = 'greenroom:reloaded-to-log-in';
const RELOADED_MS = 10_000;

/** The login has ended: at the same address the server shows its login page, which comes back to it. */
export function Locked() {
  useEffect(() => {
    try {
      // Should a server answer with this page all the same, it is not loaded again and again.
      if (Date.now() - Number(sessionStorage.getItem(RELOADED) ?? 0) < RELOADED_MS) return;
      sessionStorage.setItem(RELOADED, String(Date.now()));
    } catch {
      return; // Then by the button.
    }
    location.reload();
  }, []);
  return (
    <main className="empty locked">
      <div className="empty-inner">
        <Mark size={52} />
        <h1>You are logged out</h1>
        <p className="empty-lead">Your conversations are safe on the server, and a running answer continues there.</p>
        <Button kind="primary" onClick={() => location.reload()}>
          Log in
        </Button>
      </div>
    </main>
  );
}
