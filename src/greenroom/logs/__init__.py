"""Where sessions are kept: one module for each kind of storage.

Rule: a log stores what it is given and decides nothing; all pass `greenroom.testing.LogConformance`.
"""

from greenroom.logs.opening import open_store

__all__ = ["open_store"]
