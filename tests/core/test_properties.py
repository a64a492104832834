"""Any log that the session allows: folded, rendered, projected, at every record.

Events are drawn at random, the impossible ones are refused by `allows`; whatever is left must hold.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from hypothesis import given, settings, target
from hypothesis import strategies as st

from agui_client import Client
from greenroom.codec import decode_record, encode_record
from greenroom.config import SessionConfig, SessionLabels
from greenroom.core.index import index_update
from greenroom.core.recovery import recovery_events
from greenroom.core.refusals import adapting
from greenroom.core.session import SessionState, StartTurn, StepState
from greenroom.core.step import Intake
from greenroom.core.transcript import render
from greenroom.core.turn import AskBackend, FinishTurn, RunTools
from greenroom.core.view import history
from greenroom.errors import GreenroomError, Refused
from greenroom.events import (
    CancelRequested,
    Event,
    FileRef,
    MessageAccepted,
    MessageWithdrawn,
    NoticeGiven,
    Record,
    RequestAdapted,
    SessionClaimed,
    SessionCreated,
    SessionLabelled,
    SessionReleased,
    SessionRewound,
    SessionUpdated,
    StepFailed,
    StepFinished,
    StepProgress,
    StepRef,
    StepStarted,
    ToolReturned,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)
from greenroom.limits import DEFAULT_LIMITS
from greenroom.messages import (
    FilePart,
    PartDelta,
    PartEnded,
    PartGiven,
    PartStarted,
    Sidecar,
    SourcePart,
    StreamEnded,
    StreamItem,
    TextPart,
    Usage,
)
from greenroom.protocols.agui import AguiProjection
from greenroom.runtime.feed import entries_of
from greenroom.runtime.live import coalesced
from transcript_rules import violations

texts = st.sampled_from(["", " ", "hi", "λόγος 🎭", "\x00", "a" * 50])
sidecars = st.none() | st.just(Sidecar(backend="claude", model="m", data=msgspec.Raw(b'{"signature":"x"}')))
parts = st.integers(0, 4)
call_ids = st.sampled_from(["", "a", "a", "call_1", "with space", "x" * 80])
items: st.SearchStrategy[StreamItem] = st.one_of(
    st.builds(
        PartStarted,
        part=parts,
        kind=st.sampled_from(["text", "reasoning", "tool_call", "refusal", "opaque"]),
        call_id=call_ids,
        name=st.sampled_from(["look", "a.b", "", "ö" * 70]),
    ),
    st.builds(PartDelta, part=parts, delta=texts),
    st.builds(PartEnded, part=parts, sidecar=sidecars),
    st.builds(
        PartGiven,
        content=st.builds(
            SourcePart,
            url=st.sampled_from(["", "https://a.example", "javascript:alert(1)", "x" * 5000]),
            title=texts,
            quote=texts,
        )
        | st.builds(
            FilePart,
            media_type=st.just("image/png"),
            data=st.sampled_from([b"", b"<html>", b"\x89PNG\r\n\x1a\n"]),
            sidecar=sidecars,
        ),
    ),
    st.builds(StreamEnded, reason=st.sampled_from(["stop", "tool_calls", "pause", "length"])),
)
usage = st.sampled_from([Usage(), Usage(input_tokens=1), Usage(output_tokens=2, cost_usd=0.5)])
# What a turn brings with it is named by a word, and made so that it fits; what may come at any time is drawn as it is.
words = st.sampled_from(
    ["go"] * 8 + ["accept", "tools", "recover", "cancel", "withdraw", "rewind", "update"] + ["refuse"] * 3
)
REFUSED: tuple[Refused, ...] = get_args(Refused)
simple_events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        StepFinished, reason=st.sampled_from(["stop", "pause", "length"]), raw_reason=st.just("end"), usage=usage
    ),
    st.builds(
        StepFailed,
        code=st.sampled_from(["interrupted", "backend_garbled", "backend_unavailable", "backend_rejected"]),
        message=st.just("x"),
        usage=usage,
    ),
    st.sampled_from(["completed", "cancelled", "failed", "interrupted"]).map(
        lambda outcome: TurnEnded(turn_id="", outcome=outcome, code="" if outcome == "completed" else "c")
    ),
    st.builds(SessionClaimed, node=st.just("n2")),
    st.builds(SessionReleased),
    st.builds(NoticeGiven, code=st.just("c"), text=st.just("t")),
    st.builds(SessionLabelled, labels=st.just(SessionLabels(title="new"))),
)
# By kind, because `one_of` draws each of its branches, those of a branch included, equally often: then a log hardly comes to an answer.
kinds: dict[str, st.SearchStrategy[Any]] = {
    "word": words,
    "items": st.lists(items, min_size=1, max_size=8),
    "say": texts.map(lambda text: ("say", text)),
    "event": simple_events,
}
draws = st.lists(
    st.sampled_from(["word"] * 6 + ["items", "say", "say", "event"]).flatmap(kinds.__getitem__),
    min_size=20,
    max_size=100,
)


class Walk:
    """A log that grows by whatever is allowed."""

    def __init__(self) -> None:
        self.state = SessionState("s")
        self.records: list[Record] = []
        self.intake: Intake | None = None
        self.write(SessionCreated(user_id="u", config=SessionConfig()))

    def write(self, event: Event) -> None:
        if not self.state.allows((event,)):
            return
        record = Record(seq=self.state.seq + 1, epoch=1, at_ms=len(self.records), event=event)
        assert decode_record(encode_record(record)) == record
        foreseen = index_update(self.state, [record.event], epoch=record.epoch, at_ms=record.at_ms)
        self.state.apply(record)
        self.records.append(record)
        assert foreseen is None or foreseen.summary == self.state.tally.summary()
        if isinstance(event, StepStarted):
            self.intake = Intake(seq=record.seq, used_call_ids=self.state.call_ids, limits=DEFAULT_LIMITS)

    def stream(self, drawn: list[StreamItem]) -> None:
        if self.intake is None or self.state.turn is None or self.state.turn.state.value != "streaming":
            return
        try:
            taken = self.intake.take(drawn)
        except GreenroomError:
            self.write(StepFailed(code="backend_garbled", message="x"))
            return
        if taken:
            self.write(StepProgress(items=coalesced(taken)))

    def draw(self, draw: Any) -> None:
        """Does what was drawn, as far as it can come now."""
        state = self.state
        turn_id = state.turns[-1].turn_id if state.turns else "none"
        match draw:
            case ("say", text):
                part = len(self.records)
                self.stream(
                    [PartStarted(part=part, kind="text"), PartDelta(part=part, delta=text), PartEnded(part=part)]
                )
            case list():
                self.stream(draw)
            case TurnEnded():
                self.write(msgspec.structs.replace(draw, turn_id=turn_id))
            case "accept":
                name = f"t{len(self.records)}"
                file = FilePart(media_type="image/png", data=b"png", name="a.png")
                parts = (file, TextPart(text="?"))[len(self.records) % 2 :]
                self.write(MessageAccepted(message_id=f"m-{name}", turn_id=name, parts=parts))
            case "go":
                self.go_on()
            case "tools":
                self.settle_one()
            case "recover":
                for event in recovery_events(state):
                    self.write(event)
            case "cancel":
                self.write(CancelRequested(turn_id=turn_id))
            case "refuse" if state.turn is not None and state.turn.state.value == "streaming":
                self.refuse(state.turns[-1].steps[-1])
            case "withdraw" if state.queue:
                self.write(MessageWithdrawn(turn_id=state.queue[-1].message.turn_id))
            case "rewind" if state.turns:
                self.write(SessionRewound(turn_id=state.turns[len(self.records) % len(state.turns)].turn_id))
            case "update":
                version = state.tally.config_version + 1
                self.write(SessionUpdated(config=SessionConfig(llm_model=f"v{version}"), config_version=version))
            case str():
                pass
            case _:
                self.write(draw)

    def go_on(self) -> None:
        """Does what the machine asks for."""
        match self.state.next_action():
            case StartTurn(message=message):
                self.write(TurnStarted(turn_id=message.turn_id, context="today"))
            case AskBackend(step=step, attempt=attempt):
                self.write(StepStarted(step=step, attempt=attempt, backend="b", model="m"))
            case RunTools():
                self.settle_one()
            case FinishTurn(outcome=outcome):
                self.write(TurnEnded(turn_id=self.state.turns[-1].turn_id, outcome=outcome))
            case None if self.state.turn is None:
                self.draw("accept")
            case None:
                self.write(StepFinished(reason="stop"))

    def refuse(self, step: StepState) -> None:
        """Lets the running step fail as one that its provider refuses; now and then with what no runner would make of it."""
        number = len(self.records)
        failed = StepFailed(code="backend_rejected", message="x", refused=REFUSED[number % len(REFUSED)])
        made = adapting(self.state, failed, has_begun=not step.assembly.is_empty())
        assert self.state.allows(made), made
        if number % 4 == 0:
            known = [accepted.message.turn_id for turn in self.state.turns for accepted in turn.all_accepted]
            odd = RequestAdapted(
                backend="b",
                model="m",
                refused="request",
                asks_again=number % 8 == 0,
                messages=tuple(known[::2]),
                steps=tuple(StepRef(turn_id=turn_id, step=1) for turn_id in known[1::2]),
                files=tuple(FileRef(turn_id=turn_id, part=0) for turn_id in known),
                contexts=tuple(known),
                since_seq=number // 2 if number % 3 == 0 else 0,
            )
            made = (failed, odd)
        for event in made:
            self.write(event)

    def settle_one(self) -> None:
        turn = self.state.turn
        for call in turn.unsettled_calls()[:1] if turn else ():
            self.write(ToolStarted(call_id=call.call_id, name=call.name, effect="once", idempotency_key="k"))
            self.write(ToolReturned(call_id=call.call_id, name=call.name, outcome="ok", content=""))


@settings(max_examples=150, deadline=None)
@given(draws)
def test_whatever_is_allowed_can_be_rendered_shown_and_recovered(drawn: list[Any]) -> None:
    walk = Walk()
    for draw in drawn:
        walk.draw(draw)
        assert violations(render(walk.state)) == []
        assert violations(render(walk.state, adaptation=walk.state.adaptation("b", "m"))) == []
        assert walk.state.allows(recovery_events(walk.state))
    state = walk.state
    history(state)
    replayed = SessionState("s")
    for record in walk.records:
        replayed.apply(record)
    assert render(replayed) == render(state)
    assert replayed.adaptation("b", "m") == state.adaptation("b", "m")
    assert replayed.tally.summary() == state.tally.summary()
    projection = AguiProjection("s", find_state=lambda: state, shows_messages=True)
    client = Client()
    for record in walk.records:
        for entry in entries_of(record):
            for event in projection.events(entry.payload, seq=entry.seq):
                client.apply(event)
    late, joined = AguiProjection("s", find_state=lambda: state), Client()
    for event in late.begin_with(state, ()):
        joined.apply(str(event))
    for name, longest in (("records", len(walk.records)), ("turns", len(state.turns))):
        target(float(longest), label=name)


@settings(max_examples=150, deadline=None)
@given(draws)
def test_what_was_sent_stays_the_beginning_of_what_is_sent_later(drawn: list[Any]) -> None:
    walk = Walk()
    sent: tuple[Any, ...] = ()
    for draw in drawn:
        walk.draw(draw)
        if walk.records and isinstance(walk.records[-1].event, SessionRewound):
            sent = ()
        if not isinstance(walk.records[-1].event, StepStarted):
            continue
        now = render(walk.state)
        if sent:
            assert now[: len(sent) - 1] == sent[:-1]
            # The last message may have grown by another one of the same person.
            assert now[len(sent) - 1] == sent[-1] or now[len(sent) - 1].parts[: len(sent[-1].parts)] == sent[-1].parts
        sent = now
