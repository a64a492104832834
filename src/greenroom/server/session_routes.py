"""`/v1/sessions`: create, read, change, copy, move and delete.

Rule: a handler names the operation and shapes the answer; what may be done is decided in `mine` and behind it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from greenroom.server import bodies
from greenroom.server.answers import Answer, Data, Empty, Json
from greenroom.server.call import Call
from greenroom.server.operation import BYTES, Operation

_TAG: Final = "sessions"
_ZIP: Final = "application/zip"


async def create(call: Call) -> Answer:
    """Creates a session, or updates one of the user's."""
    settings = bodies.given(call.body)
    session_id = settings.pop("session_id", None)
    made, is_new = await call.sessions.create(session_id, settings)
    headers = {"location": f"/v1/sessions/{quote(made)}"}
    return Json(await call.sessions.data(made), status=201 if is_new else 200, headers=headers)


async def page(call: Call) -> Answer:
    """Lists sessions."""
    return Json(await call.sessions.page(call.query.query, call.query.limit, call.query.cursor))


async def data(call: Call) -> Answer:
    """Shows a session."""
    return Json(await call.sessions.data(call.session_id))


async def update(call: Call) -> Answer:
    """Changes a session, or says what the change would do."""
    patch = bodies.given(call.body)
    if call.query.dry_run:
        return Json(await call.sessions.plan(call.session_id, patch))
    return Json(await call.sessions.update(call.session_id, patch))


async def delete(call: Call) -> Answer:
    """Deletes a session."""
    await call.sessions.delete(call.session_id)
    return Empty(204)


async def fork(call: Call) -> Answer:
    """Copies a session."""
    copy = await call.sessions.fork(call.session_id, call.body.at_seq)
    return Json(copy, status=201, headers={"location": f"/v1/sessions/{quote(copy['session_id'])}"})


async def rewind(call: Call) -> Answer:
    """Takes turns out of a session."""
    await call.sessions.rewind(call.session_id, call.body.turn_id)
    return Json(await call.sessions.data(call.session_id))


async def rollback(call: Call) -> Answer:
    """Brings an earlier configuration back."""
    await call.sessions.rollback(call.session_id, call.body.config_version)
    return Json(await call.sessions.data(call.session_id))


async def hibernate(call: Call) -> Answer:
    """Takes a session out of memory."""
    await call.sessions.hibernate(call.session_id)
    return Empty(204)


async def export(call: Call) -> Answer:
    """Gives a session away as a file."""
    bundle = await call.sessions.export(call.session_id)
    headers = {"content-disposition": f'attachment; filename="{call.session_id}.greenroom.zip"'}
    return Data(bundle, _ZIP, headers=headers)


async def take_in(call: Call) -> Answer:
    """Makes a session of such a file."""
    made = await call.sessions.take_in(call.body)
    return Json(made, status=201, headers={"location": f"/v1/sessions/{quote(made['session_id'])}"})


OPERATIONS: Final = (
    Operation(
        method="POST", path="/v1/sessions", handle=create, tag=_TAG,
        summary="Create a session, or update one of yours under its id",
        body=bodies.SessionWish, has_optional_body=True, answers={201: bodies.SessionData, 200: bodies.SessionData},
    ),
    Operation(
        method="GET", path="/v1/sessions", handle=page, tag=_TAG, summary="List your sessions, those changed last first",
        query=bodies.PageQuery, answers={200: bodies.SessionPage},
    ),
    Operation(
        method="POST", path="/v1/sessions/import", handle=take_in, tag=_TAG,
        summary="Make a session of an exported one; it is yours from then on",
        raw_body=(_ZIP, BYTES), bytes_limit="import_bytes_max", answers={201: bodies.ImportedData},
    ),
    Operation(
        method="GET", path="/v1/sessions/{session_id}", handle=data, tag=_TAG, summary="What a session is set to, and how it is",
        answers={200: bodies.SessionData},
    ),
    Operation(
        method="PATCH", path="/v1/sessions/{session_id}", handle=update, tag=_TAG,
        summary="Change what is named, and nothing else", body=bodies.SessionPatch, query=bodies.PatchQuery,
        answers={200: bodies.SessionData},
    ),
    Operation(
        method="DELETE", path="/v1/sessions/{session_id}", handle=delete, tag=_TAG,
        summary="Stop what runs, and delete the session with all it has", answers={204: None},
    ),
    Operation(
        method="POST", path="/v1/sessions/{session_id}/fork", handle=fork, tag=_TAG,
        summary="Copy a session with its workspace, whole or up to a record",
        body=bodies.ForkBody, has_optional_body=True, answers={201: bodies.SessionData},
    ),
    Operation(
        method="POST", path="/v1/sessions/{session_id}/rewind", handle=rewind, tag=_TAG,
        summary="Take a turn and all after it out", body=bodies.RewindBody, answers={200: bodies.SessionData},
    ),
    Operation(
        method="POST", path="/v1/sessions/{session_id}/rollback", handle=rollback, tag=_TAG,
        summary="Bring an earlier configuration back", body=bodies.RollbackBody, answers={200: bodies.SessionData},
    ),
    Operation(
        method="POST", path="/v1/sessions/{session_id}/hibernate", handle=hibernate, tag=_TAG,
        summary="Take an idle session out of memory; the next request brings it back", answers={204: None},
    ),
    Operation(
        method="GET", path="/v1/sessions/{session_id}/export", handle=export, tag=_TAG,
        summary="The session as a portable bundle: its log and its workspace", answers={200: _ZIP},
    ),
)  # fmt: skip
