/** The head of a session: its name, what it has cost so far, and what can be done with it. */
import { useState } from 'react';
import type { SessionData } from './api/types';
import type { SessionList } from './sessions/list-store';
import { RenameField, SessionMenu, copySession, removeSession, renameSession, titleOf } from './sessions/rows';
import { IconButton } from './ui/button';
import { count, money } from './ui/format';
import { Seen } from './ui/unseen';

interface SessionHeaderProps {
  data: SessionData | null;
  list: SessionList;
  open: (sessionId: string | null) => void;
  isSidebarOpen: boolean;
  openSidebar: () => void;
  filesAreOpen: boolean;
  toggleFiles: () => void;
}

export function SessionHeader({ data, list, open, isSidebarOpen, openSidebar, filesAreOpen, toggleFiles }: SessionHeaderProps) {
  const [isRenaming, setRenaming] = useState(false);
  return (
    <header className="session-head">
      {!isSidebarOpen && (
        <>
          <IconButton icon="panel" label="Show sessions" className="show-sessions" onClick={openSidebar} />
          <IconButton icon="plus" label="New conversation" onClick={() => open(null)} />
        </>
      )}
      {data && isRenaming ? (
        <RenameField
          title={data.title}
          onDone={(title) => {
            setRenaming(false);
            if (title !== null && title !== data.title) void renameSession(list, data, title);
          }}
        />
      ) : (
        <h1 className="session-title" title={data ? titleOf(data) : undefined} onDoubleClick={() => data && setRenaming(true)}>
          <bdi>{data ? <Seen text={titleOf(data)} isLine /> : ''}</bdi>
        </h1>
      )}
      <span className="grow" />
      {data && <SessionUsage data={data} />}
      <IconButton icon="files" label="Files" aria-pressed={filesAreOpen} onClick={toggleFiles} />
      {data && (
        <SessionMenu
          session={data}
          onRename={() => setRenaming(true)}
          onFork={() => void copySession(list, data, open)}
          onDelete={() =>
            removeSession(
              list,
              data,
              () => open(null),
              () => open(data.session_id),
              true,
            )
          }
        />
      )}
    </header>
  );
}

function SessionUsage({ data }: { data: SessionData }) {
  const { input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_usd } = data.usage;
  if (!input_tokens && !output_tokens) return null;
  const details = [
    `${count(input_tokens)} tokens in`,
    cached_input_tokens ? `${count(cached_input_tokens)} of them from the cache` : '',
    `${count(output_tokens)} out`,
    reasoning_tokens ? `${count(reasoning_tokens)} of them for thinking` : '',
  ].filter(Boolean);
  return (
    <span className="session-usage" title={details.join(', ')}>
      {count(input_tokens + output_tokens)} tokens{cost_usd ? ` · ${money(cost_usd)}` : ''}
    </span>
  );
}
