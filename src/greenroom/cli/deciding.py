"""Asks the person in front of the terminal about calls that wait for a decision.

Rule: nothing is decided by leaving: what was not answered waits in the session. What is decided about is shown exactly and whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from greenroom.cli.output import exact
from greenroom.core.view import PendingApproval
from greenroom.errors import AlreadyDecided, InvalidArgument
from greenroom.runtime.exchange import Receipt

if TYPE_CHECKING:
    from greenroom.cli.interactive import Chat

_SCREEN_CHARACTERS: Final = 1000
"""What fits a small screen; of longer arguments, the question says again which call it is about."""
_HOW: Final = "y runs it, n does not (say why behind it, if you like), other arguments as JSON run it with those"
_QUESTIONS: Final = {
    "run": "may it be run?",
    "run_again": "it was interrupted, and nobody knows whether it took effect: shall it be run again?",
}


async def decide_all(chat: Chat) -> Receipt | None:
    """Asks about everything that waits; returns where the turn goes on, or `None` if nothing waits.

    Raises:
        Leave: the person leaves; the rest waits on.
    """
    first: Receipt | None = None
    for approval in await chat.manager.approvals(chat.session_id):
        # Whole, whatever its length: what is cut off is approved too.
        chat.say(f"{exact(approval.name)} {exact(approval.arguments)}", style="bold cyan")
        about = f"{exact(approval.name)}, {len(approval.arguments)} characters: " if _is_long(approval) else ""
        chat.say(f"{about}{_QUESTIONS[approval.question]} {_HOW}", style="yellow")
        receipt = await _decide(chat, approval)
        first = first or receipt
    return first


def _is_long(approval: PendingApproval) -> bool:
    return len(approval.arguments) > _SCREEN_CHARACTERS


async def _decide(chat: Chat, approval: PendingApproval) -> Receipt | None:
    while True:
        line = (await chat.read()).strip()
        word, _, rest = line.partition(" ")
        try:
            if word.lower() in {"y", "yes"} and not rest:
                return await chat.manager.approve(chat.session_id, approval.approval_id, "approve")
            if word.lower() in {"n", "no"}:
                reason = rest.strip() or None
                return await chat.manager.approve(chat.session_id, approval.approval_id, "deny", reason=reason)
            if line.startswith("{"):
                arguments = msgspec.json.decode(line)
                return await chat.manager.approve(chat.session_id, approval.approval_id, "approve", arguments=arguments)
        except AlreadyDecided as error:
            chat.say(error.message, style="dim")
            return None
        except InvalidArgument as error:
            chat.say(error.message, style="red")
            continue
        except msgspec.DecodeError as error:
            chat.say(f"that is not JSON: {error}", style="red")
            continue
        chat.say(_HOW, style="yellow")
