/**
 * A panel beside the button that opens it, in the browser's top layer: closes by Escape or a click elsewhere, and the focus goes
 * back to where it was. Rule: the contents exist only while the panel is open.
 */
import { type ReactNode, useEffect, useId, useLayoutEffect, useRef, useState } from 'react';
import { isOfInputMethod } from './keys';

interface PopoverProps {
  button: (props: {
    ref: React.RefObject<HTMLButtonElement | null>;
    onClick: () => void;
    'aria-expanded': boolean;
    'aria-haspopup': 'menu' | 'dialog';
    'aria-controls': string;
  }) => ReactNode;
  label: string;
  role?: 'menu' | 'dialog';
  className?: string;
  onOpen?: () => void;
  onClose?: () => void;
  children: (close: () => void) => ReactNode;
}

const MARGIN = 8;

export function Popover({ button, label, role = 'dialog', className = '', onOpen, onClose, children }: PopoverProps) {
  const [isOpen, setOpen] = useState(false);
  const opener = useRef<HTMLButtonElement>(null);
  const panel = useRef<HTMLDivElement>(null);
  const panelId = useId();

  useLayoutEffect(() => {
    const element = panel.current;
    if (!isOpen || !element || !opener.current) return;
    element.showPopover();
    const place = () => {
      const from = opener.current?.getBoundingClientRect();
      if (!from) return;
      const { width, height } = element.getBoundingClientRect();
      const below = from.bottom + 4;
      const above = from.top - 4 - height;
      const fitsBelow = below + height <= innerHeight - MARGIN;
      const left = Math.min(Math.max(MARGIN, from.left), innerWidth - width - MARGIN);
      element.style.left = `${Math.max(MARGIN, left)}px`;
      element.style.top = `${Math.max(MARGIN, fitsBelow || above < MARGIN ? Math.min(below, innerHeight - height - MARGIN) : above)}px`;
    };
    place();
    const resized = new ResizeObserver(place);
    resized.observe(element);
    const first = element.querySelector<HTMLElement>('[data-autofocus], input, [role^="menuitem"], button, a');
    first?.focus({ preventScroll: true });
    return () => resized.disconnect();
  }, [isOpen]);

  useEffect(() => {
    const element = panel.current;
    if (!isOpen || !element) return;
    const toggled = (event: Event) => {
      if ((event as ToggleEvent).newState !== 'closed') return;
      setOpen(false);
      onClose?.();
    };
    element.addEventListener('toggle', toggled);
    return () => element.removeEventListener('toggle', toggled);
  }, [isOpen, onClose]);

  const open = () => {
    setOpen(true);
    onOpen?.();
  };

  const close = () => {
    panel.current?.hidePopover();
    setOpen(false);
    onClose?.();
    opener.current?.focus({ preventScroll: true });
  };

  return (
    <>
      {button({
        ref: opener,
        onClick: () => (isOpen ? close() : open()),
        'aria-expanded': isOpen,
        'aria-haspopup': role,
        'aria-controls': panelId,
      })}
      {isOpen && (
        <div
          ref={panel}
          id={panelId}
          popover="auto"
          role={role}
          aria-label={label}
          className={`popover ${className}`}
          onKeyDown={role === 'menu' ? arrows : undefined}
        >
          {children(close)}
        </div>
      )}
    </>
  );
}

/** Moves among the items of a menu by arrows, Home and End. */
function arrows(event: React.KeyboardEvent<HTMLElement>): void {
  const items = [...event.currentTarget.querySelectorAll<HTMLElement>('[role^="menuitem"]:not([disabled])')];
  const at = items.indexOf(document.activeElement as HTMLElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (to === undefined || !items.length || isOfInputMethod(event)) return;
  event.preventDefault();
  items.at(to % items.length)?.focus();
}
