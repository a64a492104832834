"""The command line.

Rule: a command parses, calls the manager, and prints; it decides nothing else.
"""
