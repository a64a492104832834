"""The decisions: folds, tables and renderings of a session's log.

Rule: no I/O here. No asyncio, clock, files or randomness: the same records always give the same answer.
"""
