/** Says quietly what is wrong with the connection, and that nothing is lost by it. */
import { useEffect, useState } from 'react';
import { retryNow } from './chat/backoff';
import type { Link } from './chat/session-chat';
import { Icon } from './ui/icon';

/** A hiccup that is over before anybody could read about it is not worth a word. */
const PATIENCE_MS = 700;

export function Banner({ link, isAnswering }: { link: Link; isAnswering: boolean }) {
  const [isShown, setShown] = useState(false);
  useEffect(() => {
    if (link === 'up') return setShown(false);
    if (link === 'restored') return;
    const timer = setTimeout(() => setShown(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [link]);
  return (
    <div className="banner-place" role="status">
      {isShown && link === 'lost' && (
        <div className="banner">
          <span className="spinner" aria-hidden="true" />
          <span>
            {navigator.onLine ? 'Greenroom does not answer.' : 'You are offline.'}{' '}
            {isAnswering ? 'The answer is safe and goes on as soon as the connection is back.' : 'Nothing is lost; trying again.'}
          </span>
          <button type="button" className="banner-action" onClick={retryNow}>
            Try now
          </button>
        </div>
      )}
      {isShown && link === 'restored' && (
        <div className="banner banner-good">
          <Icon name="check" size={16} />
          <span>Connected again</span>
        </div>
      )}
    </div>
  );
}
