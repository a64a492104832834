"""What front ends post: only what is new is answered, and a request that comes again is the same request."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from greenroom.config import SessionConfig
from greenroom.core.session import SessionState, replayed
from greenroom.errors import InvalidArgument
from greenroom.events import (
    Event,
    MessageAccepted,
    MessageJoined,
    Record,
    SessionCreated,
    StepFinished,
    StepProgress,
    StepStarted,
    TurnEnded,
    TurnStarted,
)
from greenroom.messages import FilePart, PartDelta, PartEnded, PartStarted, TextPart
from greenroom.protocols.agui_input import RunAgentInput, run_request
from greenroom.protocols.ai_sdk_input import ChatInput, chat_request
from greenroom.protocols.requests import Decide, Decision, Follow, Said, Send, kept_id
from greenroom.protocols.tanstack import thread

PNG = base64.b64encode(b"\x89PNG").decode()
OTHER_PNG = base64.b64encode(b"\x89PNG another").decode()


FILE = FilePart(media_type="image/png", data=b"\x89PNG")


def session(
    *messages: str, running: bool = False, waiting: tuple[str, ...] = (), joined: tuple[str, ...] = ()
) -> SessionState:
    """A session that has answered `messages` (ids), the last one perhaps not yet; `joined` have joined each."""
    events: list[Event] = [SessionCreated(user_id="ann", config=SessionConfig())]
    for message in messages:
        turn_id = f"t-{message}"
        parts = (FILE, TextPart(text=f"say {message}"))
        events.append(MessageAccepted(message_id=message, turn_id=turn_id, parts=parts))
        events.append(TurnStarted(turn_id=turn_id))
        for each in joined:
            said = (TextPart(text=f"say {each}"),)
            events.append(MessageAccepted(message_id=each, turn_id=f"t-{each}", parts=said, overlap="steer"))
            events.append(MessageJoined(turn_id=f"t-{each}", joined_turn_id=turn_id))
        events.append(StepStarted(step=1, attempt=1, backend="b", model="m"))
        if not (running and message == messages[-1]):
            started = PartStarted(part=0, kind="text")
            events.append(StepProgress(items=(started, PartDelta(part=0, delta="Said."), PartEnded(part=0))))
            events += [StepFinished(reason="stop"), TurnEnded(turn_id=turn_id, outcome="completed")]
    events += [
        MessageAccepted(message_id=message, turn_id=f"t-{message}", parts=(TextPart(text=message),))
        for message in waiting
    ]
    return replayed("s", [Record(seq=n, epoch=1, at_ms=n, event=event) for n, event in enumerate(events, start=1)])


def run_input(body: Any) -> RunAgentInput:
    return msgspec.convert(body, RunAgentInput)


def chat_input(body: Any) -> ChatInput:
    return msgspec.convert(body, ChatInput)


def user(message_id: str, content: Any = None) -> dict[str, Any]:
    return {"id": message_id, "role": "user", "content": f"say {message_id}" if content is None else content}


def assistant(message_id: str = "a") -> dict[str, Any]:
    return {"id": message_id, "role": "assistant", "content": "Said."}


def image(data: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "data", "value": data, "mimeType": "image/png"}}


def agui(*messages: dict[str, Any], state: SessionState | None = None, **more: Any) -> Any:
    body = {"threadId": "s", "runId": "r", "messages": list(messages), **more}
    return run_request(run_input(body), state)


# --- AG-UI --------------------------------------------------------------------------------------------------------------


def test_of_a_history_only_what_is_new_is_sent() -> None:
    new = Send(said=Said(text="say m2", message_id="m2"))
    assert agui(user("m1"), assistant(), user("m2"), state=session("m1")) == new
    assert agui(user("m2"), state=session("m1")) == new, "a client may send its last message alone"
    assert agui(user("m1"), assistant(), user("m2"), state=None) == new


def test_a_run_that_was_told_a_decision_is_told_again() -> None:
    resume = [{"interruptId": "i", "status": "resolved", "payload": True}]
    decided = Decide(decisions=(Decision(approval_id="i", is_approved=True),))
    assert agui(user("m1"), state=session("m1", running=True), runId="t-m1", resume=resume) == decided


def test_a_message_that_joined_a_turn_is_known() -> None:
    state = session("m1", running=True, joined=("m2",))
    assert agui(user("m1"), user("m2"), state=state) == Follow(turn_id="t-m1")
    ended = session("m1", joined=("m2",))
    said = Said(text="say m1\n\nsay m2", message_id="m1", attachments=(FILE,))
    assert agui(user("m1"), user("m2"), state=ended) == Send(said=said, rewind_to="t-m1")


def test_several_new_messages_are_one() -> None:
    request = agui(user("m1"), user("m2", "One"), user("m3", "Two"), state=session("m1"))
    assert request == Send(said=Said(text="One\n\nTwo", message_id="m3"))


def test_what_is_no_speech_does_not_hide_the_message() -> None:
    activity = {"id": "x", "role": "activity", "activityType": "PLAN", "content": {"a": 1}}
    system = {"id": "y", "role": "system", "content": "Be kind."}
    assert agui(user("m2"), activity, system, state=session("m1")) == Send(said=Said(text="say m2", message_id="m2"))


@pytest.mark.parametrize(
    "messages",
    [
        [user("m1", "say m1")],
        [user("another-id", "say m1")],
        [user("another-id", [{"type": "text", "text": "say m1"}, image(PNG)])],
        [user("m1"), assistant()],
        [],
    ],
    ids=["the same", "the same under another id", "with its file", "answered", "none"],
)
def test_a_known_run_is_followed(messages: list[dict[str, Any]]) -> None:
    assert agui(*messages, state=session("m1"), runId="t-m1") == Follow(turn_id="t-m1")


@pytest.mark.parametrize(
    "content", ["Hello", [{"type": "text", "text": "say m1"}, image(OTHER_PNG)]], ids=["text", "file"]
)
def test_another_message_under_a_known_run_is_refused(content: Any) -> None:
    with pytest.raises(InvalidArgument, match="'t-m1' is that of another message"):
        agui(user("m1"), assistant(), user("new", content), state=session("m1"), runId="t-m1")


@pytest.mark.parametrize(
    ("state", "known"),
    [(session("m1", running=True), "m1"), (session("m1", running=True, waiting=("m2",)), "m2")],
    ids=["that is answered", "that waits"],
)
def test_a_known_message_that_is_not_done_is_followed(state: SessionState, known: str) -> None:
    assert agui(user(known), state=state) == Follow(turn_id=f"t-{known}")


def test_a_history_that_ends_with_an_answered_message_asks_for_another_answer() -> None:
    file = FilePart(media_type="image/png", data=b"\x89PNG")
    said = Said(text="say m2", message_id="m2", attachments=(file,))
    state = session("m1", "m2")
    assert agui(user("m1"), assistant(), user("m2"), state=state) == Send(said=said, rewind_to="t-m2")


def test_nothing_that_came_later_is_taken_away_by_an_old_history() -> None:
    with pytest.raises(InvalidArgument, match="went on behind it"):
        agui(user("m1"), state=session("m1", "m2"))


def test_the_last_message_is_answered_as_it_is_now() -> None:
    new = Send(said=Said(text="Changed", message_id="m2"), rewind_to="t-m2")
    assert agui(user("m1"), assistant(), user("m2", "Changed"), state=session("m1", "m2")) == new
    assert chat(ui("m2", "Changed"), state=session("m1", "m2")) == new
    with pytest.raises(InvalidArgument, match="went on behind it"):
        chat(ui("m1", "Changed"), state=session("m1", "m2"))


def test_several_messages_that_became_one_are_not_changed() -> None:
    request = agui(user("m1", "say"), user("m2", "m2"), state=session("m2"))
    assert isinstance(request, Send)
    assert request.rewind_to == "t-m2"


@pytest.mark.parametrize("messages", [[], [assistant()], [user("m"), assistant()]], ids=["none", "answer", "answered"])
def test_nothing_to_answer_is_refused(messages: list[Any]) -> None:
    with pytest.raises(InvalidArgument, match="no new message"):
        agui(*messages, state=None)


def test_media_become_attachments() -> None:
    data = base64.b64decode(PNG)
    source = {"type": "data", "value": PNG, "mimeType": "image/png"}
    content = [
        {"type": "text", "text": "Look"},
        {"type": "image", "source": source, "metadata": {"filename": "dot.png"}},
        {"type": "document", "source": {"type": "url", "value": f"data:application/pdf;base64,{PNG}"}},
        {"type": "binary", "mimeType": "image/png", "data": PNG, "filename": "old.png"},
    ]
    assert agui(user("m", content)).said == Said(
        text="Look",
        message_id="m",
        attachments=(
            {"data": data, "media_type": "image/png", "name": "dot.png"},
            {"data": data, "media_type": "application/pdf", "name": ""},
            {"data": data, "media_type": "image/png", "name": "old.png"},
        ),
    )


@pytest.mark.parametrize("url", ["https://example.org/a.png", "file:///etc/passwd", "not base64"])
def test_nothing_is_fetched_for_a_client(url: str) -> None:
    content = [{"type": "image", "source": {"type": "url", "value": url, "mimeType": "image/png"}}]
    with pytest.raises(InvalidArgument, match=r"messages\[0\].content\[0\]"):
        agui(user("m", content))


def test_a_name_that_could_be_none_here_stands_for_itself() -> None:
    request = agui(user("msg:ä/1"))
    assert request.said.message_id == kept_id("msg:ä/1") != "msg:ä/1"
    assert agui(user("msg:ä/1"), state=session(kept_id("msg:ä/1"), running=True)) == Follow(
        turn_id=f"t-{kept_id('msg:ä/1')}"
    )


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"threadId": 7}, r"threadId"),
        ({"threadId": "../x"}, r"threadId"),
        ({"runId": None}, "runId"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\]"),
        ({"messages": [{"id": "m", "role": "robot"}]}, r"messages\[0\].role"),
        ({"messages": [user("m", 7)]}, r"messages\[0\].content"),
        ({"messages": [user("m", [{"type": "hologram"}])]}, r"messages\[0\].content"),
        ({"resume": [{"interruptId": "a"}]}, r"resume\[0\]"),
        ({"resume": [{"interruptId": "a", "status": "resolved", "payload": 7}]}, r"resume\[0\].payload"),
        ({"context": [{"value": "x"}]}, "context"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(change: dict[str, Any], place: str) -> None:
    body = {"threadId": "s", "runId": "r", "messages": [user("m")]} | change
    with pytest.raises((InvalidArgument, msgspec.ValidationError), match=place):
        run_request(run_input(body), None)


def test_unknown_members_are_left_out_and_nulls_are_absent() -> None:
    run = run_input(
        {
            "threadId": "s",
            "runId": "r",
            "messages": [],
            "quantum": 1,
            "resume": None,
            "tools": [{"name": "f"}],
            "state": {},
        }
    )
    assert (run.is_legacy, run.ignored(None)) == (True, ["tools"])
    assert not run_input({"threadId": "s", "runId": "r", "messages": [], "protocolVersion": "1.0"}).is_legacy


def test_interrupts_are_answered() -> None:
    entries = [
        {
            "interruptId": "a",
            "status": "resolved",
            "payload": {"approved": True, "arguments": {"n": 1}, "reason": "ok"},
        },
        {"interruptId": "b", "status": "resolved", "payload": False},
        {"interruptId": "c", "status": "cancelled"},
    ]
    assert agui(state=session("m1"), resume=entries) == Decide(
        decisions=(
            Decision(approval_id="a", is_approved=True, reason="ok", arguments={"n": 1}),
            Decision(approval_id="b", is_approved=False),
            Decision(approval_id="c", is_approved=False),
        )
    )


# --- AI SDK -------------------------------------------------------------------------------------------------------------


def ui(message_id: str, text: str = "", role: str = "user") -> dict[str, Any]:
    return {"id": message_id, "role": role, "parts": [{"type": "text", "text": text or f"say {message_id}"}]}


def chat(*messages: dict[str, Any], state: SessionState | None = None, **more: Any) -> Any:
    return chat_request(chat_input({"id": "s", "messages": list(messages), "trigger": "submit-message", **more}), state)


def test_the_last_message_of_a_chat_is_sent() -> None:
    new = Send(said=Said(text="say m2", message_id="m2"))
    assert chat(ui("m1"), ui("a1", role="assistant"), ui("m2"), state=session("m1")) == new
    assert chat_request(chat_input({"id": "s", "message": ui("m2")}), None) == new
    assert chat_request(chat_input({"id": "s", "message": "Hello"}), None) == Send(said=Said(text="Hello"))


def test_the_same_chat_request_again_is_followed() -> None:
    assert chat(ui("m1"), state=session("m1", running=True)) == Follow(turn_id="t-m1")
    assert chat(ui("m1"), state=session("m1")) == Follow(turn_id="t-m1")


def test_an_edited_message_takes_the_place_of_the_old_one() -> None:
    edited = chat(ui("m1", "Better"), messageId="m1", state=session("m1", "m2"))
    assert edited == Send(said=Said(text="Better", message_id="m1"), rewind_to="t-m1")


@pytest.mark.parametrize("message_id", ["t-m1-answer", "m1", None])
def test_an_answer_is_given_again(message_id: str | None) -> None:
    more = {"messageId": message_id} if message_id else {}
    request = chat(ui("m1"), trigger="regenerate-message", state=session("m1", "m2"), **more)
    assert (request.rewind_to, request.said.text, request.said.message_id) == ("t-m1", "say m1", "m1")
    assert len(request.said.attachments) == 1


def test_an_answer_is_given_again_to_the_message_as_it_is_now() -> None:
    """`setMessages` and then `regenerate`: how pages edit without saying so."""
    request = chat(ui("m1", "Better"), trigger="regenerate-message", state=session("m1"))
    assert request == Send(said=Said(text="Better", message_id="m1"), rewind_to="t-m1")


def test_an_answer_that_is_being_given_is_followed() -> None:
    state = session("m1", running=True)
    assert chat(ui("m1"), trigger="regenerate-message", state=state) == Follow(turn_id="t-m1")


@pytest.mark.parametrize(
    ("state", "messages", "match"),
    [(None, [ui("m1")], "no such answer"), (session("m1"), [ui("other")], "no message 'other'")],
)
def test_what_was_never_answered_cannot_be_answered_again(state: Any, messages: list[Any], match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        chat(*messages, trigger="regenerate-message", state=state)


def test_files_of_a_chat_become_attachments() -> None:
    file = {"type": "file", "mediaType": "image/png", "filename": "dot.png", "url": f"data:image/png;base64,{PNG}"}
    message = {"id": "m", "role": "user", "parts": [file, {"type": "text", "text": "Look"}, {"type": "data-mine"}]}
    (attachment,) = chat(message).said.attachments
    assert attachment == {"data": base64.b64decode(PNG), "media_type": "image/png", "name": "dot.png"}


def test_decisions_come_with_the_answer_that_asked() -> None:
    part = {"type": "dynamic-tool", "toolCallId": "c", "state": "approval-responded"}
    answer = {"id": "t-m1-answer", "role": "assistant", "parts": [part | {"approval": {"id": "a", "approved": True}}]}
    request = chat(ui("m1"), answer, messageId="t-m1-answer", state=session("m1"))
    assert request == Decide(decisions=(Decision(approval_id="a", is_approved=True),))
    with pytest.raises(InvalidArgument, match=r"parts\[0\].approval"):
        chat({"id": "x", "role": "assistant", "parts": [part]})
    with pytest.raises(InvalidArgument, match="decides nothing"):
        chat(ui("a", role="assistant"))


def test_settings_may_stand_beside_the_messages() -> None:
    body = {"id": "s", "message": "Hi", "llm_model": "m", "backend": "b", "persona_name": "p", "own": 1}
    chat = chat_input(body | {"additional_tools": ["T"], "overlap": "reject"})
    assert chat.settings == {"llm_model": "m", "backend": "b", "persona_name": "p", "additional_tools": ("T",)}
    assert chat.overlap == "reject"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"id": 7}, "id"),
        ({"messages": [{"role": "user", "parts": "x"}]}, r"messages\[0\].parts"),
        ({"messages": [{"role": "robot"}]}, r"messages\[0\].role"),
        ({"trigger": "explode"}, "trigger"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "parts": [{"type": "text"}]}]}, r"messages\[0\].parts\[0\]"),
        ({"messages": [{"role": "user", "parts": [{"type": "file", "url": "https://x"}]}]}, r"parts\[0\]"),
        ({"messages": [{"role": "user", "parts": [{"type": "smell"}]}]}, r"messages\[0\].parts\[0\].*smell"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
    ],
)
def test_a_malformed_chat_is_refused_with_its_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises((InvalidArgument, msgspec.ValidationError), match=place):
        chat_request(chat_input({"id": "s", "messages": [ui("m")], **change}), None)


# --- TanStack AI --------------------------------------------------------------------------------------------------------


def test_a_thread_has_its_messages_and_the_run_to_join() -> None:
    shown = thread(session("m1", "m2", running=True))
    assert [message["id"] for message in shown["messages"]] == ["m1", "t-m1-answer", "m2"]
    assert shown["messages"][1]["parts"] == [{"type": "text", "content": "Said."}]
    assert shown["messages"][0]["parts"][1] == {"type": "text", "content": "say m1"}
    assert shown["activeRun"] == {"runId": "t-m2"}
    assert thread(session("m1"))["activeRun"] is None
