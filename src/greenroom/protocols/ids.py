"""What messages and parts are called in every protocol.

Rule: an id depends on the log alone, and is the same live, replayed and in a snapshot.
"""

from __future__ import annotations


def answer_id(turn_id: str) -> str:
    """Returns the id of the message that answers in a turn, where a protocol has one for the whole turn."""
    return f"{turn_id}-answer"


def part_id(turn_id: str, step: int, attempt: int, part: int) -> str:
    """Returns the id of a text or reasoning."""
    return f"{turn_id}-{step}.{attempt}.{part}"


def call_parent_id(turn_id: str, step: int, attempt: int) -> str:
    """Returns the id of the assistant message that carries the tool calls of a step."""
    return f"{turn_id}-{step}.{attempt}"


def result_id(call_id: str) -> str:
    """Returns the message id of a tool result."""
    return f"{call_id}-result"
