/** The sessions: find one, begin one, bring one in. */
import { type Ref, useEffect, useRef, useState } from 'react';
import { asApiError } from '../api/http';
import { importSession, logOut } from '../api/routes';
import { forgetDrafts } from '../composer/drafts';
import { useLogin } from '../settings/hooks';
import { Button, IconButton } from '../ui/button';
import { advice } from '../ui/format';
import { Icon, Mark } from '../ui/icon';
import { isOfInputMethod } from '../ui/keys';
import { toast } from '../ui/toast';
import type { SessionList } from './list-store';
import { SessionRows } from './rows';

interface SidebarProps {
  list: SessionList;
  current: string | null;
  searchRef: Ref<HTMLInputElement>;
  version: string;
  open: (sessionId: string | null) => void;
  onClose: () => void;
  onShortcuts: () => void;
}

export function Sidebar({ list, current, searchRef, version, open, onClose, onShortcuts }: SidebarProps) {
  const [query, setQuery] = useState('');
  const picker = useRef<HTMLInputElement>(null);
  const isFirst = useRef(true);
  const { value: login } = useLogin();

  useEffect(() => {
    if (isFirst.current) {
      isFirst.current = false;
      return;
    }
    const timer = setTimeout(() => list.search(query.trim()), 120);
    return () => clearTimeout(timer);
  }, [query, list]);

  const leave = async () => {
    try {
      await logOut();
      forgetDrafts();
      location.assign('/');
    } catch (error) {
      toast(`Not logged out: ${asApiError(error).message}`, { kind: 'error' });
    }
  };

  const bringIn = async (files: readonly File[]) => {
    for (const file of files) {
      try {
        const data = await importSession(file);
        list.learn(data);
        toast(`Imported “${data.title || 'New conversation'}”`);
        for (const notice of data.notices) toast(notice.text);
        open(data.session_id);
      } catch (error) {
        const { code, message, hint } = asApiError(error);
        const way = code === 'invalid_stream' ? 'Choose a file that “Export” has made.' : hint ? advice(hint) : '';
        toast(`${file.name} was not imported: ${message}. ${way}`.trim(), { kind: 'error' });
      }
    }
  };

  return (
    <nav className="sidebar" aria-label="Sessions">
      <header className="sidebar-head">
        <Mark />
        <span className="wordmark">Greenroom</span>
        <IconButton icon="panel" label="Hide sessions" onClick={onClose} />
      </header>
      <div className="sidebar-top">
        <a
          className="new-session"
          href="/"
          onClick={(event) => {
            if (event.metaKey || event.ctrlKey) return;
            event.preventDefault();
            open(null);
          }}
        >
          <Icon name="plus" />
          New conversation
        </a>
        <div className="search">
          <Icon name="search" size={16} />
          <input
            ref={searchRef}
            type="search"
            placeholder="Search"
            aria-label="Search sessions"
            value={query}
            onChange={(event) => setQuery(event.target.value)}
            onKeyDown={(event) => {
              if (isOfInputMethod(event)) return;
              if (event.key === 'Escape') setQuery('');
              if (event.key === 'ArrowDown') {
                event.preventDefault();
                document.querySelector<HTMLElement>('.rows-box [data-row][tabindex="0"]')?.focus();
              }
            }}
          />
        </div>
      </div>
      <SessionRows list={list} current={current} open={open} />
      <footer className="sidebar-foot">
        <Button icon="import" onClick={() => picker.current?.click()}>
          Import
        </Button>
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          aria-label="Sessions to import"
          onChange={(event) => {
            void bringIn([...(event.target.files ?? [])]);
            event.target.value = '';
          }}
        />
        <span className="version">{version}</span>
        {login?.login && <IconButton icon="door" label="Log out" onClick={() => void leave()} />}
        <IconButton icon="keyboard" label="Keyboard shortcuts" onClick={onShortcuts} />
      </footer>
    </nav>
  );
}
