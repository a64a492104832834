"""What the decoders of all dialects do alike with an answer under construction.

Rule: what an answer's end leads to stands here, not in a dialect.
"""

from __future__ import annotations

from greenroom.backends.faults import Endpoint, Fault, classified
from greenroom.errors import BackendError, BackendGarbled
from greenroom.finish_reasons import ending_of


def failure_of(word: str, endpoint: Endpoint) -> BackendError | None:
    """Returns the error for a finish reason that means that the provider failed; `None` for every other."""
    match ending_of(word):
        case "broken":
            return classified(Fault(words=f"the answer ended with {word!r}"), endpoint)
        case "garbled":
            return BackendGarbled(
                f"{endpoint.provider} could not read what its model wrote: the answer ended with {word!r}",
                hint="ask again; if it happens often, choose another model",
            )
        case _:
            return None
