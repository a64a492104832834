"""Which calls a person is asked about, and what the model is told when the answer is no.

The most specific pattern counts: the one with the most characters that are not wildcards; of two that are equally specific, the
stricter. Where no pattern fits, what the tool declares holds.

Rule: the order in which somebody wrote the patterns down changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from greenroom.config import ApprovalRule
from greenroom.events import ApprovalDecided, ToolReturned
from greenroom.messages import Outcome, ToolCallPart

_STRICTNESS: Final[Mapping[ApprovalRule, int]] = {"allow": 0, "ask": 1, "deny": 2}
_WILDCARDS: Final = frozenset("*?[]")


def ruling(rules: Mapping[str, ApprovalRule], name: str, *, needs_approval: bool) -> ApprovalRule:
    """Returns what happens to a call of the tool `name`.

    Args:
        rules: pattern of tool names -> rule, as the session is set.
        name: of the tool.
        needs_approval: what the tool declares.
    """
    fitting = [pattern for pattern in rules if fnmatchcase(name, pattern)]
    if not fitting:
        return "ask" if needs_approval else "allow"
    return rules[max(fitting, key=lambda pattern: (_specificity(pattern), _STRICTNESS[rules[pattern]]))]


def denied_by_rule(call: ToolCallPart) -> ToolReturned:
    """Returns the result of a call that the session does not allow."""
    content = f"[Not run: this session does not allow {call.name!r}.]"
    return ToolReturned(call_id=call.call_id, name=call.name, outcome="denied", content=content)


def denied_by_person(call: ToolCallPart, decided: ApprovalDecided, *, was_started: bool) -> ToolReturned:
    """Returns the result of a call that a person does not want to be run, or to be run again."""
    if was_started:
        content = (
            "[Outcome unknown: it was interrupted while it was running. A person decided that it is not run again.]"
        )
    else:
        content = "[Not run: a person declined this call.]"
    if decided.reason:
        content = f"{content}\nThe person said: {decided.reason}"
    outcome: Outcome = "unknown" if was_started else "denied"
    return ToolReturned(call_id=call.call_id, name=call.name, outcome=outcome, content=content)


def _specificity(pattern: str) -> int:
    return sum(character not in _WILDCARDS for character in pattern)
