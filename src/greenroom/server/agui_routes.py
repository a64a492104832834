"""AG-UI, for its clients as they are: `HttpAgent`, TanStack AI, CopilotKit.

A run is a turn, a thread a session. A client sends all messages that it knows; the log knows better, so only what is new at the
end counts. A run that is sent again goes on behind `Last-Event-ID`, or from its start, and is never begun twice.

Rule: what a client of this protocol sends beyond what is used here is left out, and the answer says so: in `x-greenroom-ignored`, and as a
notice in the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from greenroom.errors import InvalidArgument
from greenroom.large_thread import in_thread
from greenroom.protocols.agui import empty_run
from greenroom.protocols.agui_input import InputMessage, RunAgentInput, run_request, said_last
from greenroom.protocols.requests import Decide, Decision, Follow, Send
from greenroom.protocols.tanstack import thread
from greenroom.runtime.exchange import Receipt
from greenroom.server.answers import Answer, Data, Empty, Json, large_json
from greenroom.server.bodies import Cancelled
from greenroom.server.call import Call
from greenroom.server.message_routes import turn_headers
from greenroom.server.operation import STREAM, WITH_FILES, Operation
from greenroom.server.refusal import Refusal
from greenroom.server.streaming import ignored_header

_TAG: Final = "ag-ui"
Dialect = Literal["ag-ui", "ag-ui-0"]


class JoinQuery(msgspec.Struct, kw_only=True, rename="camel"):
    """What is joined: a thread, or a run (TanStack AI sends `offset=-1` with it)."""

    thread_id: str | None = None
    run_id: str | None = None
    offset: str | None = None


class StopBody(msgspec.Struct, kw_only=True, rename="camel"):
    """Which run is stopped; the one that runs."""

    run_id: str | None = None


async def run(call: Call) -> Answer:
    """Starts a run, or goes on with one that was started."""
    return await _run(call, call.body, persona_name=None)


async def _run(call: Call, body: RunAgentInput, *, persona_name: str | None) -> Answer:
    if body.is_for_suggestions:
        return _nothing_said(body)
    session_id = body.thread_id
    state = await call.sessions.state(session_id) if await call.sessions.exists(session_id) else None
    headers: dict[str, str] = {}
    ignored = [*body.ignored(state), *call.unread]
    joins, cursor = False, call.last_event_id
    match run_request(body, state, await in_thread(body.weight, said_last, body)):
        case Follow(turn_id=turn_id):
            joins = True  # the client has lost the stream, and may have a part of it
        case Decide(decisions=decisions):
            was_waiting = state is not None and state.is_waiting
            receipts = await decide(call, session_id, decisions, run_id=body.run_id)
            # Of a run that did not end where it asked, or went on long ago, the beginning is shown too.
            joins = not was_waiting or all(receipt.is_repeat for receipt in receipts)
            turn_id, cursor = receipts[0].turn_id, cursor or (None if joins else receipts[0].cursor)
        case Send(said=said, rewind_to=rewound):
            call.sessions.check_message(said.text, said.attachments)
            if state is None:
                persona = {"persona_name": persona_name} if persona_name is not None else {}
                await call.sessions.create(session_id, body.settings | persona)
            if rewound:
                await call.sessions.rewind(session_id, rewound)
            receipt = await call.sessions.send(
                session_id,
                said.text,
                attachments=said.attachments,
                turn_id=body.run_id,
                message_id=said.message_id,
            )
            turn_id, joins = receipt.turn_id, receipt.is_repeat
            headers |= turn_headers(receipt)
    call.place.runs.remember(call.sessions.user_id, body.run_id, session_id)
    dialect = _dialect(body)
    batches = await call.sessions.attach(session_id, cursor, protocol=dialect, turn_id=turn_id, joins=joins)
    return call.stream(batches, protocol=dialect, headers=headers, ignored=ignored)


def _nothing_said(body: RunAgentInput) -> Data:
    """Answers CopilotKit's request for suggestions, without a session and without asking a model: there are none."""
    frames = empty_run(body.thread_id, body.run_id, is_legacy=body.is_legacy)
    text = "".join(f"id: {number}\ndata: {frame}\n\n" for number, frame in enumerate(frames, start=1))
    return Data(text.encode(), "text/event-stream; charset=utf-8", headers=ignored_header(["suggestions"]))


async def decide(
    call: Call, session_id: str, decisions: Sequence[Decision], *, run_id: str | None = None
) -> Sequence[Receipt]:
    """Tells the session what a person has decided; the first receipt says where the turn goes on.

    Raises:
        GreenroomError: as `AgentManager.approve`.
    """
    return [
        await call.sessions.approve(
            session_id,
            decision.approval_id,
            "approve" if decision.is_approved else "deny",
            arguments=decision.arguments,
            reason=decision.reason or None,
            run_id=run_id,
        )
        for decision in decisions
    ]


async def join(call: Call) -> Answer:
    """Joins a run, or shows a thread."""
    query: JoinQuery = call.query
    if query.run_id is not None:
        session_id = query.thread_id or await call.place.runs.find(call.sessions, query.run_id)
        if session_id is None:
            raise Refusal(404, "run_not_found", f"no run {query.run_id[:100]!r}", hint="name its threadId too")
        turn_id = await call.sessions.turn_of_run(session_id, query.run_id)
        # Nobody says a version here: what every client understands.
        batches = await call.sessions.attach(
            session_id, call.last_event_id, protocol="ag-ui-0", turn_id=turn_id, joins=True
        )
        return call.stream(batches, protocol="ag-ui-0")
    if query.thread_id is None:
        raise InvalidArgument("neither threadId nor runId is named", hint="GET /agui?threadId=...")
    state = await call.sessions.state(query.thread_id)
    shown = thread(state)
    if shown["activeRun"] is not None:
        call.place.runs.remember(call.sessions.user_id, shown["activeRun"]["runId"], query.thread_id)
    return await large_json(state.weight, lambda: shown)


# --- CopilotKit ---------------------------------------------------------------------------------------------------------


async def info(call: Call) -> Answer:
    """Lists the agents: a persona is one."""
    from greenroom import __version__

    agents = {
        row["name"]: {"name": row["name"], "className": "GreenroomAgent", "description": row["description"]}
        for row in await call.place.personas()
    }
    # `suggestions`: they are asked for at an address of their own, instead of by a run that would make a session.
    told = {"mode": "sse", "audioFileTranscriptionEnabled": False, "suggestions": True}
    return Json({"version": __version__, "agents": agents, **told})


async def agent_suggest(call: Call) -> Answer:
    """Answers that there are no suggestions."""
    return _nothing_said(call.body)


async def agent_run(call: Call) -> Answer:
    """Starts a run of an agent."""
    return await _run(call, call.body, persona_name=call.path["agent_id"])


async def agent_connect(call: Call) -> Answer:
    """Shows a thread and goes on with what runs in it."""
    body: RunAgentInput = call.body
    if not await call.sessions.exists(body.thread_id):
        return Empty(204)
    dialect = _dialect(body)
    batches = await call.sessions.attach(body.thread_id, None, protocol=dialect)
    # The client shows again what it has; only what it adds to the thread is worth a word.
    names = [*body.ignored(await call.sessions.state(body.thread_id)), *call.unread]
    ignored = [name for name in names if not name.startswith("messages")]
    return call.stream(batches, protocol=dialect, ignored=ignored)


async def agent_stop(call: Call) -> Answer:
    """Stops the run of a thread."""
    return Json({"cancelled": await call.sessions.cancel(call.session_id)})


def _dialect(body: RunAgentInput) -> Dialect:
    return "ag-ui-0" if body.is_legacy else "ag-ui"


OPERATIONS: Final = (
    Operation(
        method="POST", path="/agui", handle=run, tag=_TAG, is_turn=True, bytes_limit=WITH_FILES, body=RunAgentInput,
        message=InputMessage,
        summary="Run an agent (AG-UI); the same runId again goes on with the run", answers={200: STREAM},
    ),
    Operation(
        method="GET", path="/agui", handle=join, tag=_TAG, query=JoinQuery,
        summary="Join a run, or show a thread", answers={200: STREAM},
    ),
    Operation(
        method="GET", path="/copilotkit/info", handle=info, tag=_TAG, summary="The agents, for CopilotKit",
        answers={200: dict[str, Any]},
    ),
    Operation(
        method="POST", path="/copilotkit/agent/{agent_id}/run", handle=agent_run, tag=_TAG, is_turn=True,
        body=RunAgentInput, bytes_limit=WITH_FILES, message=InputMessage,
        summary="Run an agent, for CopilotKit", answers={200: STREAM},
    ),
    Operation(
        method="POST", path="/copilotkit/agent/{agent_id}/suggest", handle=agent_suggest, tag=_TAG, body=RunAgentInput,
        bytes_limit=WITH_FILES,
        summary="Suggestions, for CopilotKit: there are none", answers={200: STREAM},
    ),
    Operation(
        method="POST", path="/copilotkit/agent/{agent_id}/connect", handle=agent_connect, tag=_TAG, body=RunAgentInput,
        bytes_limit=WITH_FILES, message=InputMessage,
        summary="Join a thread, for CopilotKit", answers={200: STREAM, 204: None},
    ),
    Operation(
        method="POST", path="/copilotkit/agent/{agent_id}/stop/{session_id}", handle=agent_stop, tag=_TAG, body=StopBody,
        has_optional_body=True, summary="Stop a run, for CopilotKit", answers={200: Cancelled},
    ),
)  # fmt: skip
