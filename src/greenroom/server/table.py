"""All that can be asked of the server.

Rule: a route that is not reachable from here does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.server import (
    agui_routes,
    catalogue_routes,
    chat_routes,
    file_routes,
    login_routes,
    message_routes,
    operation_routes,
    session_routes,
    site,
    waiting_routes,
)
from greenroom.server.operation import Operation


def operations() -> Sequence[Operation]:
    """Returns the rows, in the order of the documentation; of two that fit a path, the first counts."""
    return (
        *session_routes.OPERATIONS,
        *message_routes.OPERATIONS,
        *waiting_routes.OPERATIONS,
        *file_routes.OPERATIONS,
        *catalogue_routes.OPERATIONS,
        *agui_routes.OPERATIONS,
        *chat_routes.OPERATIONS,
        *operation_routes.OPERATIONS,
        *login_routes.OPERATIONS,
        *site.OPERATIONS,
    )
