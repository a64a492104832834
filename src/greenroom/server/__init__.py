"""The sessions over HTTP: for React front ends, agents of other frameworks, scripts and `curl`.

Rule: a request reaches a session only through `mine.Sessions`, which knows whose it is.
"""
