"""Who an agent can be.

Rule: a persona is found in a scanned catalogue; a name never becomes a path.
"""
