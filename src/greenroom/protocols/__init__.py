"""Projections of a session into what front ends speak: pure functions from feed entries to frames.

Rule: no I/O and no state of the session here; what a frame shows comes from the log.
"""
