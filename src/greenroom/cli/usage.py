"""`greenroom usage`: what a user has used, and may use.

Rule: it says what the ledger has: a step that still runs is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.cli.output import OK, print_facts, print_json
from greenroom.cli.place import Place
from greenroom.cli.running import managing, run, settings_of
from greenroom.runtime.allowance import UserUsage
from greenroom.session_data import user_usage_data


def show_usage(place: Place, user: str, *, days: int | None, as_json: bool) -> int:
    """Prints what the user has used."""
    settings = settings_of(place)

    async def work() -> UserUsage:
        async with managing(settings) as manager:
            return await manager.usage(user, days=days)

    found = run(work())
    if as_json:
        print_json(user_usage_data(found))
    else:
        print_facts(_facts(found))
    return OK


def _facts(found: UserUsage) -> Sequence[tuple[str, str]]:
    usage, budget = found.usage, found.budget
    cost = "not known" if usage.cost_usd is None else f"{usage.cost_usd:.4f} USD"
    if usage.cost_usd is not None and found.unpriced_tokens:
        cost += f", and {found.unpriced_tokens} tokens whose price is not known"
    facts = [
        ("user", found.user_id),
        ("days", str(found.days)),
        (
            "tokens",
            f"{usage.input_tokens} in, {usage.output_tokens} out{' (partly estimated)' if usage.estimated else ''}",
        ),
        ("cost", cost),
    ]
    if budget is not None:
        bounds = [f"{budget.tokens} tokens"] if budget.tokens is not None else []
        bounds += [f"{budget.usd:g} USD"] if budget.usd is not None else []
        facts.append(("budget", f"{' and '.join(bounds)} in {budget.days} day{'s' if budget.days > 1 else ''}"))
    return facts
