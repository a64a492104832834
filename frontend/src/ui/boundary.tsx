/**
 * Keeps an error of one part of the page to that part: in its place stands what can still be shown, and a way to go on.
 *
 * Rule: whoever draws data from outside (a message, a card, a file, a row) stands inside a boundary of its own; the last one is
 * around the app.
 */
import { Component, type ReactNode } from 'react';
import { Button } from './button';

interface BoundaryProps {
  /** Names what is drawn: when it changes, drawing is tried again. */
  of?: string;
  /** What to show instead. */
  fallback: (error: Error, again: () => void) => ReactNode;
  children: ReactNode;
}

interface BoundaryState {
  error: Error | null;
  of: string | undefined;
}

export class Boundary extends Component<BoundaryProps, BoundaryState> {
  override state: BoundaryState = { error: null, of: this.props.of };

  static getDerivedStateFromError(error: unknown): Partial<BoundaryState> {
    return { error: error instanceof Error ? error : new Error(String(error)) };
  }

  static getDerivedStateFromProps(props: BoundaryProps, state: BoundaryState): Partial<BoundaryState> | null {
    return props.of === state.of ? null : { of: props.of, error: null };
  }

  private readonly again = (): void => this.setState({ error: null });

  override render(): ReactNode {
    return this.state.error ? this.props.fallback(this.state.error, this.again) : this.props.children;
  }
}

/** A part of the page that could not be drawn; the rest still works. */
export function PartFailed({ what, error, again }: { what: string; error: Error; again: () => void }) {
  return (
    <div className="part-failed" role="alert">
      <p>{what} could not be shown. Nothing is lost: the server has it.</p>
      <details>
        <summary>Details</summary>
        <pre tabIndex={0}>{error.message}</pre>
      </details>
      <Button onClick={again}>Try again</Button>
    </div>
  );
}

/** The whole page could not be drawn. Uses nothing of the app: whatever broke it may break here too. */
export function PageFailed({ error }: { error: Error }) {
  return (
    <main className="empty" aria-label="The page has failed">
      <div className="empty-inner">
        <h1>This page has stopped</h1>
        <p className="empty-lead">Your conversations are safe on the server, and a running answer continues there.</p>
        <p className="part-failed-ways">
          <a className="button button-primary" href={location.pathname}>
            Reload
          </a>
          <a className="button button-plain" href="/">
            New conversation
          </a>
        </p>
        <details className="part-failed">
          <summary>Details</summary>
          <pre tabIndex={0}>{error.message}</pre>
        </details>
      </div>
    </main>
  );
}
