/** Asks a person whether a tool may run. Rule: nothing is decided twice, and changed arguments are checked before they are sent. */
import { useId, useState } from 'react';
import { asApiError } from '../api/http';
import type { ToolPart } from '../chat/messages';
import { Button } from '../ui/button';
import { visibleJson } from '../ui/unseen';

export type Decision = { decision: 'approve' | 'deny'; arguments?: unknown; reason?: string };
export type Decide = (approvalId: string, decision: Decision) => Promise<void>;

export function Approval({ part, decide }: { part: Extract<ToolPart, { state: 'approval-requested' }>; decide: Decide }) {
  const [draft, setDraft] = useState<string | null>(null);
  const [isSent, setSent] = useState(false);
  const [problem, setProblem] = useState('');
  const field = useId();

  const send = (decision: Decision) => {
    setSent(true);
    setProblem('');
    decide(part.approval.id, decision).catch((error: unknown) => {
      const { message, hint } = asApiError(error);
      setProblem(hint ? `${message}. ${hint}` : message);
      setSent(false);
    });
  };

  const approve = () => {
    if (draft === null) return send({ decision: 'approve' });
    try {
      send({ decision: 'approve', arguments: JSON.parse(draft) as unknown });
    } catch (error) {
      setProblem(`The arguments are not JSON: ${error instanceof Error ? error.message : String(error)}`);
    }
  };

  return (
    <div className="approval" role="group" aria-label="May this tool run?">
      {draft !== null && (
        <>
          <label htmlFor={field}>Arguments, as JSON</label>
          <textarea id={field} className="approval-draft" spellCheck={false} value={draft} onChange={(event) => setDraft(event.target.value)} />
        </>
      )}
      {problem && <p role="alert" className="problem">{problem}</p>}
      <div className="approval-buttons">
        <Button kind="primary" disabled={isSent} onClick={approve}>
          {draft === null ? 'Allow' : 'Allow with these'}
        </Button>
        {draft === null ? (
          <Button disabled={isSent} onClick={() => setDraft(visibleJson(part.input ?? {}))}>
            Change arguments
          </Button>
        ) : (
          <Button disabled={isSent} onClick={() => setDraft(null)}>
            Keep as they were
          </Button>
        )}
        <Button disabled={isSent} onClick={() => send({ decision: 'deny' })}>
          Deny
        </Button>
      </div>
    </div>
  );
}
