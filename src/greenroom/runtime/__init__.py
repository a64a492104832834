"""The acts: tasks, time and randomness live here and nowhere else.

Rule: the runtime decides nothing that the core can decide; it performs the actions that the turn machine names.
"""
