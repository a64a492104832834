/** The session's files: what the agent has made, and what it is given. */
import { useCallback, useEffect, useRef, useState } from 'react';
import { type ApiError, asApiError, request } from '../api/http';
import { deleteFile, filePath, listFiles, putFile } from '../api/routes';
import type { WorkspaceFile } from '../api/types';
import { CodeBlock } from '../conversation/code-block';
import { Markdown, SessionContext } from '../conversation/markdown';
import { Boundary, PartFailed } from '../ui/boundary';
import { Button, IconButton } from '../ui/button';
import { bytes } from '../ui/format';
import { Icon } from '../ui/icon';
import { toast } from '../ui/toast';
import { Seen } from '../ui/unseen';
import { kindOf, languageOf } from './kinds';

const POLL_MS = 4_000;
const TEXT_BYTES_MAX = 512 * 1024;

interface WorkspacePanelProps {
  sessionId: string;
  /** Grows when a tool may have changed something. */
  revision: number;
  isBusy: boolean;
  onClose: () => void;
}

export function WorkspacePanel({ sessionId, revision, isBusy, onClose }: WorkspacePanelProps) {
  const { files, error, refresh } = useFiles(sessionId, revision, isBusy);
  const [openPath, setOpenPath] = useState<string | null>(null);
  const [isOver, setOver] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const open = files?.find((file) => file.path === openPath) ?? null;

  const upload = async (added: readonly File[]) => {
    for (const file of added) {
      try {
        await putFile(sessionId, file.name, file);
      } catch (failure) {
        const { message, hint } = asApiError(failure);
        toast(`${file.name} was not uploaded: ${message}${hint ? ` (${hint})` : ''}`, { kind: 'error' });
      }
    }
    await refresh();
  };

  const remove = async (file: WorkspaceFile) => {
    if (!window.confirm(`Delete ${file.path} from the workspace?`)) return;
    try {
      await deleteFile(sessionId, file.path);
      setOpenPath(null);
      await refresh();
    } catch (failure) {
      toast(`Not deleted: ${asApiError(failure).message}`, { kind: 'error' });
    }
  };

  return (
    <aside
      className={isOver ? 'workspace workspace-over' : 'workspace'}
      aria-label="Files of this session"
      onDragOver={(event) => {
        event.preventDefault();
        event.stopPropagation();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        event.stopPropagation();
        setOver(false);
        void upload([...event.dataTransfer.files]);
      }}
    >
      <header className="workspace-head">
        {open ? (
          <>
            <button type="button" className="icon-button back" aria-label="All files" title="All files" onClick={() => setOpenPath(null)}>
              <Icon name="chevron" />
            </button>
            <h2 title={open.path}>
              <bdi>
                <Seen text={open.path} isLine />
              </bdi>
            </h2>
            <a className="icon-button" href={filePath(sessionId, open.path)} download aria-label={`Download ${open.path}`} title="Download">
              <Icon name="download" />
            </a>
            <IconButton icon="trash" label={`Delete ${open.path}`} onClick={() => void remove(open)} />
          </>
        ) : (
          <>
            <h2>Files</h2>
            <IconButton icon="upload" label="Upload files" onClick={() => picker.current?.click()} />
          </>
        )}
        <IconButton icon="close" label="Close files" onClick={onClose} />
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          aria-label="Files to upload"
          onChange={(event) => {
            void upload([...(event.target.files ?? [])]);
            event.target.value = '';
          }}
        />
      </header>
      {open ? (
        <Boundary of={open.path} fallback={(failure, again) => <PartFailed what="This file" error={failure} again={again} />}>
          <FileView key={`${open.path} ${open.modified_at} ${open.size}`} sessionId={sessionId} file={open} />
        </Boundary>
      ) : (
        <FileList files={files} error={error} onOpen={setOpenPath} onUpload={() => picker.current?.click()} onRetry={() => void refresh()} />
      )}
    </aside>
  );
}

function FileList({
  files,
  error,
  onOpen,
  onUpload,
  onRetry,
}: {
  files: readonly WorkspaceFile[] | null;
  error: ApiError | null;
  onOpen: (path: string) => void;
  onUpload: () => void;
  onRetry: () => void;
}) {
  if (error && !files)
    return (
      <div className="workspace-empty">
        <p>{error.message}</p>
        <Button onClick={onRetry}>Try again</Button>
      </div>
    );
  if (!files) return <div className="workspace-empty" aria-busy="true" />;
  if (!files.length)
    return (
      <div className="workspace-empty">
        <Icon name="files" size={28} />
        <p>Nothing here yet. What the agent writes appears here, and what you put here it can read.</p>
        <Button icon="upload" onClick={onUpload}>
          Upload files
        </Button>
      </div>
    );
  return (
    <ul className="files">
      {files.map((file) => {
        const at = file.path.lastIndexOf('/') + 1;
        return (
          <li key={file.path}>
            <button type="button" className="file" onClick={() => onOpen(file.path)}>
              <Icon name={kindOf(file.path) === 'image' ? 'image' : 'file'} size={16} />
              <span className="file-name">
                <bdi className="file-folder">
                  <Seen text={file.path.slice(0, at)} isLine />
                </bdi>
                <bdi>
                  <Seen text={file.path.slice(at)} isLine />
                </bdi>
              </span>
              <span className="file-size">{bytes(file.size)}</span>
            </button>
          </li>
        );
      })}
    </ul>
  );
}

function FileView({ sessionId, file }: { sessionId: string; file: WorkspaceFile }) {
  const kind = kindOf(file.path);
  const [text, setText] = useState<string | null>(null);
  const [problem, setProblem] = useState('');
  const isText = kind === 'text' || kind === 'markdown';
  const isSmall = file.size <= TEXT_BYTES_MAX;
  useEffect(() => {
    if (!isText || !isSmall) return;
    const leaving = new AbortController();
    request(filePath(sessionId, file.path), { signal: leaving.signal })
      .then((response) => response.text())
      .then(setText, (error: unknown) => !leaving.signal.aborted && setProblem(asApiError(error).message));
    return () => leaving.abort();
  }, [sessionId, file.path, isText, isSmall]);

  if (kind === 'image') return <ImageView sessionId={sessionId} path={file.path} />;
  if (problem) return <p className="workspace-empty">{problem}</p>;
  if (!isText || !isSmall)
    return (
      <div className="workspace-empty">
        <p>
          {bytes(file.size)}. {isText ? 'Too long to be shown here.' : 'This kind of file is not shown here.'}
        </p>
        <a className="button button-plain" href={filePath(sessionId, file.path)} download>
          <Icon name="download" size={16} /> Download
        </a>
      </div>
    );
  if (text === null) return <div className="file-view" aria-busy="true" />;
  return (
    <div className="file-view">
      {kind === 'markdown' ? (
        <SessionContext value={sessionId}>
          <Markdown text={text} isFile />
        </SessionContext>
      ) : (
        <CodeBlock code={text} lang={languageOf(file.path)} />
      )}
    </div>
  );
}

/** By way of a blob: a picture that was made anew is the new one, whatever the browser remembers of its address. */
function ImageView({ sessionId, path }: { sessionId: string; path: string }) {
  const [address, setAddress] = useState('');
  const [problem, setProblem] = useState('');
  useEffect(() => {
    const leaving = new AbortController();
    let made = '';
    request(`${filePath(sessionId, path)}?inline=1`, { signal: leaving.signal })
      .then((response) => response.blob())
      .then(
        (blob) => {
          made = URL.createObjectURL(blob);
          setAddress(made);
        },
        (error: unknown) => !leaving.signal.aborted && setProblem(asApiError(error).message),
      );
    return () => {
      leaving.abort();
      URL.revokeObjectURL(made);
    };
  }, [sessionId, path]);
  if (problem) return <p className="workspace-empty">{problem}</p>;
  return <div className="file-view file-view-image">{address && <img src={address} alt={path} />}</div>;
}

function useFiles(sessionId: string, revision: number, isBusy: boolean) {
  const [files, setFiles] = useState<readonly WorkspaceFile[] | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const refresh = useCallback(
    async (signal = new AbortController().signal) => {
      try {
        const fresh = await listFiles(sessionId, signal);
        if (signal.aborted) return;
        setFiles((now) => (JSON.stringify(now) === JSON.stringify(fresh) ? now : fresh));
        setError(null);
      } catch (failure) {
        const known = asApiError(failure);
        if (signal.aborted) return;
        // A session that is still to be created has no files, and no error either.
        if (known.status === 404) setFiles([]);
        else setError(known);
      }
    },
    [sessionId],
  );
  useEffect(() => {
    const leaving = new AbortController();
    void refresh(leaving.signal);
    return () => leaving.abort();
  }, [refresh, revision, isBusy]);
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === 'visible' && void refresh(), POLL_MS);
    return () => clearInterval(timer);
  }, [refresh]);
  return { files, error, refresh };
}
