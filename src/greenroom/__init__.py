"""Greenroom keeps agent sessions: it never loses, corrupts, leaks or double-runs one."""

__version__ = "0.1.0.dev0"
