/** Where a person writes. Rule: nothing that was written is lost; what the server did not take comes back here. */
import type { FileUIPart } from 'ai';
import { type ReactNode, type Ref, useEffect, useImperativeHandle, useRef, useState } from 'react';
import { IconButton } from '../ui/button';
import { Icon } from '../ui/icon';
import { isOfInputMethod } from '../ui/keys';
import { toast } from '../ui/toast';
import { Seen } from '../ui/unseen';
import { readFiles } from './attachments';
import { loadDraft, saveDraft } from './drafts';

export interface ComposerHandle {
  focus: () => void;
  put: (text: string, files?: FileUIPart[]) => void;
  add: (files: readonly File[]) => void;
}

interface ComposerProps {
  draftKey: string;
  isBusy: boolean;
  isStopping: boolean;
  settings: ReactNode;
  ref: Ref<ComposerHandle>;
  onSend: (text: string, files: FileUIPart[]) => void;
  onStop: () => void;
  onEditLast: () => void;
}

export function Composer({ draftKey, isBusy, isStopping, settings, ref, onSend, onStop, onEditLast }: ComposerProps) {
  const [text, setText] = useState(() => loadDraft(draftKey));
  const [files, setFiles] = useState<FileUIPart[]>([]);
  const area = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const isEmpty = !text.trim() && !files.length;

  useEffect(() => {
    const timer = setTimeout(() => saveDraft(draftKey, text), 200);
    const now = () => saveDraft(draftKey, text);
    window.addEventListener('pagehide', now);
    return () => {
      clearTimeout(timer);
      window.removeEventListener('pagehide', now);
    };
  }, [draftKey, text]);

  useEffect(() => {
    const element = area.current;
    if (!element || CSS.supports('field-sizing', 'content')) return;
    element.style.height = 'auto';
    element.style.height = `${element.scrollHeight}px`;
  }, [text]);

  const add = (added: readonly File[]) => {
    void readFiles(added, files.length).then(({ parts, problems }) => {
      setFiles((before) => [...before, ...parts]);
      for (const problem of problems) toast(problem, { kind: 'error' });
    });
  };

  useImperativeHandle(ref, () => ({
    focus: () => area.current?.focus(),
    put: (returned, returnedFiles = []) => {
      setText((now) => (now.trim() ? `${returned}\n\n${now}` : returned));
      setFiles((now) => [...returnedFiles, ...now]);
      area.current?.focus();
    },
    add,
  }));

  const submit = () => {
    if (isEmpty) return;
    onSend(text.trim(), files);
    setText('');
    setFiles([]);
    saveDraft(draftKey, '');
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {files.length > 0 && (
        <ul className="composer-files" aria-label="Attachments of this message">
          {files.map((file, at) => (
            <li key={`${file.filename}-${at}`}>
              {/^data:image\/(png|jpeg|gif|webp)/.test(file.url) ? <img src={file.url} alt="" /> : <Icon name="file" />}
              <span dir="auto">
                <Seen text={file.filename ?? ''} isLine />
              </span>
              <IconButton
                icon="close"
                label={`Remove ${file.filename ?? 'attachment'}`}
                onClick={() => {
                  setFiles(files.filter((each) => each !== file));
                  area.current?.focus();
                }}
              />
            </li>
          ))}
        </ul>
      )}
      <textarea
        ref={area}
        className="composer-text"
        aria-label="Message"
        placeholder={isBusy ? 'Write the next message; it waits for its turn' : 'Write a message'}
        rows={1}
        autoFocus
        dir="auto"
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (isOfInputMethod(event)) return;
          if (event.key === 'Enter' && !event.shiftKey && !event.altKey) {
            event.preventDefault();
            submit();
          } else if (event.key === 'Escape' && isBusy) {
            event.preventDefault();
            onStop();
          } else if (event.key === 'ArrowUp' && !text && !isBusy) {
            event.preventDefault();
            onEditLast();
          }
        }}
        onPaste={(event) => {
          const pasted = [...event.clipboardData.files];
          if (!pasted.length) return;
          // Cells of a spreadsheet and words of a document bring a picture of themselves along: what is meant is the text.
          if (event.clipboardData.getData('text/plain')) {
            const name = pasted.length === 1 ? 'a picture of it' : `${pasted.length} files`;
            toast(`Pasted as text. The clipboard has ${name} too.`, { action: { label: 'Attach', run: () => add(pasted) } });
            return;
          }
          event.preventDefault();
          add(pasted);
        }}
      />
      <div className="composer-row">
        <IconButton icon="clip" label="Attach files" onClick={() => picker.current?.click()} />
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          aria-label="Files to attach"
          onChange={(event) => {
            add([...(event.target.files ?? [])]);
            event.target.value = '';
            area.current?.focus();
          }}
        />
        <div className="composer-settings">{settings}</div>
        {isBusy && (
          <button type="button" className="round round-stop" aria-label="Stop the answer" title="Stop the answer (Esc)" disabled={isStopping} onClick={onStop}>
            <Icon name="stop" />
          </button>
        )}
        {(!isBusy || !isEmpty) && (
          <button type="submit" className="round round-send" aria-label={isBusy ? 'Queue message' : 'Send message'} title={isBusy ? 'Queue message (Enter)' : 'Send message (Enter)'} disabled={isEmpty}>
            <Icon name="send" />
          </button>
        )}
      </div>
    </form>
  );
}
