"""What every part of the suite begins with: how to get a store.

Rule: no test framework is needed: a test is an async method that raises `AssertionError`.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from greenroom.interfaces import Store


class StoreSuite:
    """A part of the suite, over the stores that `open_store` makes."""

    def open_store(self) -> AbstractAsyncContextManager[Store]:
        """Returns an empty store, open until its block is left. Yours to implement."""
        raise NotImplementedError("implement open_store: a context manager that yields an empty, open store")
