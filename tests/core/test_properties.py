"""Any log that the session allows: folded, rendered, projected, at every record.

Events are drawn at random, the impossible ones are refused by `allows`; whatever is left must hold.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings, target
from hypothesis import strategies as st

from agui_client import Client
from greenroom.codec import decode_record, encode_record
from greenroom.config import SessionConfig, SessionLabels
from greenroom.core.index import index_update
from greenroom.core.recovery import recovery_events
from greenroom.core.session import SessionState, StartTurn
from greenroom.core.step import Intake
from greenroom.core.transcript import render
from greenroom.core.turn import AskBackend, FinishTurn, RunTools
from greenroom.core.view import history
from greenroom.errors import GreenroomError
from greenroom.events import (
    CancelRequested,
    Event,
    MessageAccepted,
    MessageWithdrawn,
    NoticeGiven,
    Record,
    SessionClaimed,
    SessionCreated,
    SessionLabelled,
    SessionReleased,
    SessionRewound,
    SessionUpdated,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    ToolReturned,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)
from greenroom.limits import DEFAULT_LIMITS
from greenroom.messages import (
    PartDelta,
    PartEnded,
    PartStarted,
    Sidecar,
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
    st.builds(StreamEnded, reason=st.sampled_from(["stop", "tool_calls", "pause", "length"])),
)
usage = st.sampled_from([Usage(), Usage(input_tokens=1), Usage(output_tokens=2, cost_usd=0.5)])
# What a turn brings with it is named by a word, and made so that it fits; what may come at any time is drawn as it is.
words = st.sampled_from(["go"] * 8 + ["accept", "tools", "recover", "cancel", "withdraw", "rewind", "update"])
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
draws = st.lists(
    st.one_of(
        words, words, st.lists(items, min_size=1, max_size=8), simple_events, texts.map(lambda text: ("say", text))
    ),
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
                self.write(MessageAccepted(message_id=f"m-{name}", turn_id=name, parts=(TextPart(text="?"),)))
            case "go":
                self.go_on()
            case "tools":
                self.settle_one()
            case "recover":
                for event in recovery_events(state):
                    self.write(event)
            case "cancel":
                self.write(CancelRequested(turn_id=turn_id))
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
        assert walk.state.allows(recovery_events(walk.state))
    state = walk.state
    history(state)
    replayed = SessionState("s")
    for record in walk.records:
        replayed.apply(record)
    assert render(replayed) == render(state)
    assert replayed.tally.summary() == state.tally.summary()
    projection = AguiProjection("s", find_state=lambda: state, shows_messages=True)
    client = Client()
    for record in walk.records:
        for entry in entries_of(record):
            for event in projection.events(entry.payload, seq=entry.seq):
                client.apply(event)
    late, joined = AguiProjection("s", find_state=lambda: state), Client()
    for event in late.begin_with(state, ()):
        joined.apply(event)
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
        assert now[: len(sent) - 1] == sent[:-1]
        if sent:  # the last message may have grown by another one of the same person
            assert now[len(sent) - 1] == sent[-1] or now[len(sent) - 1].parts[: len(sent[-1].parts)] == sent[-1].parts
        sent = now
