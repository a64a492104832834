/** What the server says, as it says it. Rule: names are the server's; nothing here is computed. */

export interface Usage {
  input_tokens: number;
  output_tokens: number;
  cached_input_tokens: number;
  reasoning_tokens: number;
  cost_usd: number | null;
}

export interface SessionData {
  session_id: string;
  user_id: string;
  title: string;
  created_at: string;
  updated_at: string;
  llm_model: string;
  backend: string;
  persona_name: string;
  tools: string[];
  settings: Record<string, unknown>;
  config_version: number;
  status: 'idle' | 'running' | 'waiting';
  turn_count: number;
  message_count: number;
  usage: Usage;
  last_seq: number;
}

export interface SessionPage {
  sessions: SessionData[];
  cursor: string | null;
}

export interface ModelRow {
  backend: string;
  model: string | null;
  is_default?: boolean;
  usable: boolean;
  reason?: string;
}

export interface PersonaRow {
  name: string;
  description: string;
}

export interface ToolsetRow {
  name: string;
  description: string;
  is_essential: boolean;
  tools: { name: string; description: string }[];
}

export interface Notice {
  code: string;
  text: string;
  hint?: string;
}

export interface Status {
  version: string;
  user_id: string;
  /** `is_demo`: a very small model, which has no tools and knows little. */
  default: { backend: string; model: string | null; is_demo: boolean };
  notices: Notice[];
}

export interface WorkspaceFile {
  path: string;
  size: number;
  modified_at: string | number;
}

/** What a change of a session would do to it. */
export interface UpdatePlan {
  losses: { kind: 'signatures' | 'tools' | 'notice'; text: string; count: number }[];
  history_tokens: number;
  context_window: number | null;
  fits: boolean | null;
  cache_lost_tokens: number;
  cache_lost_usd: number | null;
}

/** What a session can be set to from here; what is left out stays as it is. */
export interface SessionPatch {
  title?: string;
  llm_model?: string;
  backend?: string;
  persona_name?: string;
  additional_tools?: string[];
  metadata?: Record<string, unknown>;
}
