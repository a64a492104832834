/** The server's routes as functions. Rule: one function for each thing that the UI asks, and no path is written elsewhere. */
import type { Message } from '../chat/messages';
import { json, request, send } from './http';
import type {
  ModelRow,
  Notice,
  PersonaRow,
  SessionData,
  SessionPage,
  SessionPatch,
  Status,
  ToolsetRow,
  UpdatePlan,
  WorkspaceFile,
} from './types';

const id = encodeURIComponent;
const session = (sessionId: string) => `/v1/sessions/${id(sessionId)}`;

// --- sessions -----------------------------------------------------------------------------------------------------------

export function listSessions(query: string, cursor: string | null, limit: number, signal: AbortSignal): Promise<SessionPage> {
  const parameters = new URLSearchParams({ limit: String(limit) });
  if (query) parameters.set('query', query);
  if (cursor) parameters.set('cursor', cursor);
  return json(`/v1/sessions?${parameters}`, { signal });
}

export const getSession = (sessionId: string, signal?: AbortSignal) =>
  json<SessionData>(session(sessionId), signal ? { signal } : {});

export const patchSession = (sessionId: string, patch: SessionPatch) => send<SessionData>('PATCH', session(sessionId), patch);

export const planSession = (sessionId: string, patch: SessionPatch) => send<UpdatePlan>('PATCH', `${session(sessionId)}?dry_run=true`, patch);

/** With `keepalive` the request outlives the page. */
export async function deleteSession(sessionId: string, keepalive = false): Promise<void> {
  await request(session(sessionId), { method: 'DELETE', keepalive });
}

export const forkSession = (sessionId: string, atSeq?: number) =>
  send<SessionData>('POST', `${session(sessionId)}/fork`, atSeq === undefined ? {} : { at_seq: atSeq });

export const exportPath = (sessionId: string) => `${session(sessionId)}/export`;

/** `notices` say what was left out of the session, and what its former owner had chosen. */
export const importSession = (bundle: Blob) =>
  json<SessionData & { notices: Notice[] }>('/v1/sessions/import', {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: bundle,
  });

// --- the conversation ---------------------------------------------------------------------------------------------------

export const chatMessages = (sessionId: string, signal?: AbortSignal) =>
  json<{ messages: Message[]; active: boolean }>(`/api/chat/${id(sessionId)}/messages`, signal ? { signal } : {});

/** What became of a call of a tool: how it ended, and how long that took. */
export interface CallEnd {
  outcome: string;
  ms: number;
}

/** What became of the calls of a session, by the id of the call. */
export async function callEnds(sessionId: string, signal: AbortSignal): Promise<Map<string, CallEnd>> {
  interface Part {
    type: string;
    call_id?: string;
    outcome?: string | null;
    duration_ms?: number;
  }
  const { messages } = await json<{ messages: { parts: Part[] }[] }>(`${session(sessionId)}/messages`, { signal });
  const found = new Map<string, CallEnd>();
  for (const { parts } of messages)
    for (const { type, call_id, outcome, duration_ms } of parts)
      if (type === 'tool_call' && call_id && outcome) found.set(call_id, { outcome, ms: duration_ms ?? 0 });
  return found;
}

export const stopChat = (sessionId: string) => send<unknown>('POST', `/api/chat/${id(sessionId)}/stop`, {});

export interface Attachment {
  name: string;
  media_type: string;
  data: string;
}

/** Accepts a message without waiting for its answer. */
export const queueMessage = (sessionId: string, message: string, attachments: Attachment[], key: string) =>
  json<unknown>(`${session(sessionId)}/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', prefer: 'respond-async' },
    body: JSON.stringify({ message, attachments, idempotency_key: key }),
  });

/** Takes a message back that waits for its turn. */
export async function withdraw(sessionId: string, turnId: string): Promise<void> {
  await request(`${session(sessionId)}/queue/${id(turnId)}`, { method: 'DELETE' });
}

/** Gives a message to the running answer, which reads it before its next step. */
export const steer = (sessionId: string, message: string) => send<unknown>('POST', `${session(sessionId)}/steer`, { message });

export const decideApproval = (
  sessionId: string,
  approvalId: string,
  decision: { decision: 'approve' | 'deny'; arguments?: unknown; reason?: string },
) => send<unknown>('POST', `${session(sessionId)}/approvals/${id(approvalId)}`, decision);

// --- what there is ------------------------------------------------------------------------------------------------------

/** Who is logged in; `login` is null where nobody has to. */
export const getLogin = () => json<{ user_id: string; by: string; login: object | null }>('/v1/login');
export async function logOut(): Promise<void> {
  await request('/v1/logout', { method: 'POST' });
}

export const getStatus = () => json<Status>('/v1/status');
export const getModels = () => json<{ models: ModelRow[] }>('/v1/models').then((answer) => answer.models);
export const getPersonas = () => json<{ personas: PersonaRow[] }>('/v1/personas').then((answer) => answer.personas);
export const getToolsets = () => json<{ toolsets: ToolsetRow[] }>('/v1/toolsets').then((answer) => answer.toolsets);

// --- workspace ----------------------------------------------------------------------------------------------------------

export const filePath = (sessionId: string, path: string) =>
  `${session(sessionId)}/workspace/${path.split('/').map(id).join('/')}`;

export const listFiles = (sessionId: string, signal: AbortSignal) =>
  json<{ files: WorkspaceFile[] }>(`${session(sessionId)}/workspace/`, { signal }).then((answer) => answer.files);

export async function putFile(sessionId: string, path: string, contents: Blob): Promise<void> {
  await request(filePath(sessionId, path), {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream' },
    body: contents,
  });
}

export async function deleteFile(sessionId: string, path: string): Promise<void> {
  await request(filePath(sessionId, path), { method: 'DELETE' });
}
