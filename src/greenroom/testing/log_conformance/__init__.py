"""What every store must do, as tests that any implementation can run.

Subclass `LogConformance`, say how to open an empty store, and let your test framework find the methods::

    class TestMyStore(LogConformance):
        @asynccontextmanager
        async def open_store(self):
            async with fresh_database() as url:
                store = MyStore(url)
                await store.open()
                yield store
                await store.close()

A store that several processes can open at once also subclasses `SharedLogConformance`. Each test is an async method without
arguments whose name says the promise; none takes more than a second or two. What only an implementation itself can test is not here:
that acknowledged records survive a power cut, and what a full disk or a damaged file does.

Rule: the suite checks what `greenroom.interfaces` promises, and nothing that it does not.
"""

from greenroom.testing.log_conformance.appending import Appending
from greenroom.testing.log_conformance.indexing import Listing, Searching
from greenroom.testing.log_conformance.logging_in import LoggingIn
from greenroom.testing.log_conformance.noting import Noting
from greenroom.testing.log_conformance.reading import Inboxes, Lifecycle, Reading
from greenroom.testing.log_conformance.sharing import SharedLogConformance
from greenroom.testing.log_conformance.spending import Spending

__all__ = ["LogConformance", "SharedLogConformance"]


class LogConformance(Appending, Reading, Lifecycle, Listing, Searching, Spending, Inboxes, Noting, LoggingIn):
    """The whole suite for one store."""
