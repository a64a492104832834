"""How long a client may see a stream: as long as it could ask for it again.

A signed token ends when it expires; a browser's login also when it is not used, or when someone ends it. The streams hear at once of what
this process ends; what another process ends is seen when the store is asked, every `KEEP_ALIVE_S`.

Rule: the reason that ends a stream is the one with which its client's next request is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext

from greenroom.errors import EventLogError
from greenroom.runtime.clock import Clock
from greenroom.server.refusal import Refusal

PutOut = Callable[[Refusal], None]


class Stay:
    """One client's.

    Args:
        ends_at_ms: when it ends by itself, in milliseconds since 1970.
        over: what it is told then.
        clock: the wall clock.
        look: returns why it has ended, if it has; `None` where nothing but time ends it.
        tell: returns what keeps a function that is called when this process ends it; `None` likewise.
    """

    def __init__(
        self,
        *,
        ends_at_ms: int,
        over: Refusal,
        clock: Clock,
        look: Callable[[], Awaitable[Refusal | None]] | None = None,
        tell: Callable[[PutOut], AbstractContextManager[object]] | None = None,
    ) -> None:
        self._ends_at_ms = ends_at_ms
        self._over = over
        self._clock = clock
        self._look = look
        self._tell = tell

    def left_s(self) -> float:
        """Returns after how many seconds it ends by itself."""
        return max(0.0, (self._ends_at_ms - self._clock.now_ms()) / 1000)

    def over(self) -> Refusal:
        """Returns what a client is told whose time is over."""
        return self._over

    async def refusal(self) -> Refusal | None:
        """Returns why the client may not see more; `None` as long as it may."""
        if not self.left_s():
            return self._over  # also where the machine slept, and the event loop's clock with it
        try:
            return await self._look() if self._look is not None else None
        except EventLogError:
            return None  # a store that cannot be asked has logged nobody out

    def told(self, put_out: PutOut) -> AbstractContextManager[object]:
        """Has a function called when this process ends it before its time, as long as the context is open."""
        return self._tell(put_out) if self._tell is not None else nullcontext()
