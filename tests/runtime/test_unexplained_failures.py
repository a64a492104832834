"""A failure that nobody explains never costs the session, and an outage never costs the session a message.

Siblings of case P16: servers that fall over what they are sent instead of refusing it (500, 501, a bare 403, a closed connection,
silence). vLLM answered 500 to any message with an image (vllm-project/vllm#11629).
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from greenroom.backends.faults import Endpoint, classified, fault_of
from greenroom.backends.scripted import Call, Fail, Say, ScriptedBackend, Step
from greenroom.core.transcript import render
from greenroom.errors import BackendError, BackendGarbled, BackendUnavailable
from greenroom.events import NoticeGiven, RequestAdapted, SessionRewound, SessionUpdated, StepStarted, TurnEnded
from greenroom.interfaces import BackendRequest, Note
from greenroom.limits import DEFAULT_LIMITS
from greenroom.message_input import accepted_message
from greenroom.messages import FilePart, TextPart, UserMessage
from harness import HERE, Bench, Stage, stage, store_with
from transcript_rules import violations

pytestmark = pytest.mark.virtual_time

ENDPOINT = Endpoint(provider="Frail", base_url="http://frail/v1", key_variable="KEY", base_url_variable="URL")


def answered(status: int) -> BackendError:
    return classified(fault_of("Something went wrong.", status=status), ENDPOINT)


FAILURES: dict[str, Callable[[], BackendError]] = {
    "500": lambda: answered(500),
    "501": lambda: answered(501),
    "503": lambda: answered(503),
    "403": lambda: answered(403),
    "418": lambda: answered(418),
    "closed": lambda: BackendUnavailable("Frail closed the connection before it answered"),
    "garbled": lambda: BackendGarbled("Frail sent something else"),
}


class Frail:
    """A provider that falls over what has `<bad>` in it, and over everything while it is down.

    Attributes:
        asked: what each request held, and whether it was answered.
    """

    def __init__(self, failure: str = "500") -> None:
        self.failure = FAILURES[failure]
        self.is_down = False
        self.begins = False
        self.asked: list[tuple[bool, str]] = []
        self.broken: list[str] = []
        self.backend = ScriptedBackend(self._answer)

    def _answer(self, request: BackendRequest) -> list[Step]:
        self.broken += violations(request.messages)
        held = msgspec.json.encode(request.messages).decode()
        files = [p for m in request.messages if isinstance(m, UserMessage) for p in m.parts if isinstance(p, FilePart)]
        is_answered = not (self.is_down or "<bad>" in held or any(b"<bad>" in file.data for file in files))
        self.asked.append((is_answered, held))
        if not is_answered:
            return [*([Say("Half of")] if self.begins else []), Fail(self.failure())]
        last = request.messages[-1]
        said = (
            " ".join(part.text for part in last.parts if isinstance(part, TextPart))
            if isinstance(last, UserMessage)
            else ""
        )
        return [Call("look", {})] if "look" in said else [Say(f"Answer {len(self.asked)}.")]

    @property
    def answers(self) -> list[bool]:
        return [is_answered for is_answered, _ in self.asked]


async def say(opened: Stage, text: str, *files: FilePart) -> TurnEnded:
    message = accepted_message(
        text, custom_prompt=None, idempotency_key=None, attachments=files, limits=DEFAULT_LIMITS, at_ms=1
    )
    await opened.exchange.send(HERE, message, overlap=None)
    await opened.idle()
    ends = [event for event in await opened.events() if isinstance(event, TurnEnded)]
    return next(end for end in ends if end.turn_id == message.turn_id)


async def switch(opened: Stage, **settings: Any) -> None:
    async with opened.registry.using(HERE) as live:
        config = msgspec.structs.replace(live.state.config, **settings)
        await live.change(lambda state: [SessionUpdated(config=config, config_version=state.tally.config_version + 1)])


async def notices(opened: Stage) -> list[str]:
    return [event.text for event in await opened.events() if isinstance(event, NoticeGiven)]


@asynccontextmanager
async def frail_stage(frail: Frail, **settings: Any) -> AsyncIterator[Stage]:
    async with stage(bench=Bench(frail.backend)) as opened:
        await opened.create(**settings)
        yield opened


every_failure = pytest.mark.parametrize("failure", FAILURES)


@every_failure
async def test_the_next_message_is_answered_and_after_a_second_proof_it_is_left_out_for_good(failure: str) -> None:
    frail = Frail(failure)
    async with frail_stage(frail) as opened:
        await say(opened, "hello")
        assert (await say(opened, "<bad> one")).outcome == "failed"
        before = len(frail.asked)
        assert (await say(opened, "two")).outcome == "completed"
        attempts = len(frail.asked) - before
        assert frail.answers[before:] == [*[False] * (attempts - 1), True], "one request more than before"
        assert (await say(opened, "three")).outcome == "completed"
        before = len(frail.asked)
        assert (await say(opened, "four")).outcome == "completed"
        assert len(frail.asked) == before + 1, "it is known now"
        held = frail.asked[-1][1]
        assert all(word in held for word in ("hello", "two", "three", "four"))
        assert "A message of the user was here" in held
        first, second = await notices(opened)
        assert "the next request has everything again" in first
        assert "change it and send it again" in second
    assert frail.broken == []


@every_failure
async def test_an_outage_takes_nothing_out_and_costs_one_request_for_each_turn(failure: str) -> None:
    frail = Frail(failure)
    async with frail_stage(frail) as opened:
        await say(opened, "hello")
        frail.is_down = True
        counts = []
        for number in range(6):
            before = len(frail.asked)
            assert (await say(opened, f"message {number}")).outcome == "failed"
            counts.append(len(frail.asked) - before)
        assert counts == [counts[0], *[counts[0] + 1] * 5]
        frail.is_down = False
        assert (await say(opened, "and now?")).outcome == "completed"
        held = frail.asked[-1][1]
        assert all(f"message {number}" in held for number in range(6))
        assert await notices(opened) == []


async def test_an_outage_that_ends_at_the_probe_takes_nothing_out_of_the_next_request() -> None:
    """The worst moment for it to end: everything failed, and the next request would have been answered with everything."""
    frail = Frail()
    async with frail_stage(frail) as opened:
        frail.is_down = True
        await say(opened, "remember 17")
        failures = 0

        def fails() -> BackendError:
            nonlocal failures
            failures += 1
            frail.is_down = failures < 4
            return answered(500)

        frail.failure = fails
        assert (await say(opened, "two")).outcome == "completed"
        assert "remember 17" not in frail.asked[-1][1]
        assert (await say(opened, "three")).outcome == "completed"
        assert "remember 17" in frail.asked[-1][1]
        frail.failure, frail.is_down = FAILURES["500"], True
        await say(opened, "four")
        frail.is_down = False
        assert (await say(opened, "five")).outcome == "completed"
        assert "remember 17" in frail.asked[-1][1], "what was answered is no suspect any more"


@pytest.mark.parametrize("repetitions", [1, 2])
async def test_a_message_that_is_sent_again_as_it_was_does_not_cost_the_conversation(repetitions: int) -> None:
    """What people do first when a message fails. Each repetition makes the probe fail that leaves out only those before it."""
    frail = Frail()
    async with frail_stage(frail) as opened:
        await say(opened, "remember 17")
        for _ in range(1 + repetitions):
            assert (await say(opened, "<bad>")).outcome == "failed"
        for text in ("two", "three", "four"):
            before = len(frail.asked)
            assert (await say(opened, text)).outcome == "completed"
        assert len(frail.asked) == before + 1, "it is known now"
        assert all(word in frail.asked[-1][1] for word in ("remember 17", "two", "three", "four"))
        first, second = await notices(opened)
        assert "without the earlier conversation; the next request has everything again" in first
        assert "without what was new in the turns that failed" in second
    assert frail.broken == []


async def test_a_message_that_is_repeated_in_its_place_does_not_cost_the_conversation() -> None:
    """As "try again" in a page does it: the failed turn is taken back first."""
    frail = Frail()
    async with frail_stage(frail) as opened:
        await say(opened, "remember 17")
        for _ in range(3):
            failed = await say(opened, "<bad>")
            assert failed.outcome == "failed"
            async with opened.registry.using(HERE) as live:
                await live.change(lambda _, turn_id=failed.turn_id: [SessionRewound(turn_id=turn_id)])  # type: ignore[misc]
        assert (await say(opened, "<bad>")).outcome == "failed"
        for text in ("two", "three", "four"):
            assert (await say(opened, text)).outcome == "completed"
        assert frail.answers[-2:] == [True, True], "it is known now"
        assert all(word in frail.asked[-1][1] for word in ("remember 17", "two", "three", "four"))


async def test_an_answer_that_breaks_off_each_time_is_no_end_of_the_session() -> None:
    frail = Frail("garbled")
    frail.begins = True
    async with frail_stage(frail) as opened:
        assert (await say(opened, "<bad>")).outcome == "failed"
        assert (await say(opened, "two")).outcome == "completed"
        assert (await say(opened, "three")).outcome == "completed"


async def test_a_picture_that_fells_the_server_is_left_out_and_others_are_not() -> None:
    frail = Frail()
    good, bad = (FilePart(media_type="image/png", data=data, name=data.decode()) for data in (b"good", b"<bad>"))
    async with frail_stage(frail) as opened:
        await say(opened, "see", good)
        assert (await say(opened, "and this?", bad)).outcome == "failed"
        for text in ("two", "three", "four"):
            assert (await say(opened, text)).outcome == "completed"
        assert (await say(opened, "another", good)).outcome == "completed"
        assert frail.asked[-1][1].count("image/png") == 2, "both of the good one"


async def test_a_result_that_fells_the_server_is_left_out_with_its_call_kept() -> None:
    frail = Frail()
    bench = Bench(frail.backend)

    async def call(arguments: Any, context: Any) -> str:
        return "a page <bad>"

    bench.look.call = call  # type: ignore[method-assign]
    async with stage(bench=bench) as opened:
        await opened.create()
        assert (await say(opened, "look")).outcome == "failed"
        assert (await say(opened, "two")).outcome == "completed"
        assert (await say(opened, "three")).outcome == "completed"
        held = frail.asked[-1][1]
        assert "This call has a result" in held
    assert frail.broken == []


async def test_the_further_steps_of_a_turn_keep_what_its_probe_has_found() -> None:
    frail = Frail()
    async with frail_stage(frail) as opened:
        await say(opened, "<bad>")
        assert (await say(opened, "look")).outcome == "completed"
        assert frail.answers[-2:] == [True, True]
        assert len(await notices(opened)) == 1
        assert (await say(opened, "look again")).outcome == "completed"
        before = len(frail.asked)
        assert (await say(opened, "look once more")).outcome == "completed"
        assert len(frail.asked) == before + 2


async def test_a_memory_that_fells_the_server_is_left_out() -> None:
    frail = Frail()
    async with frail_stage(frail) as opened:
        await opened.store.notes.put("ann", Note(kind="memory", key="k", text="<bad> tea", at_ms=1), count_max=9)
        assert (await say(opened, "tea")).outcome == "failed"
        assert (await say(opened, "two")).outcome == "completed"
        assert (await say(opened, "three")).outcome == "completed"
        before = len(frail.asked)
        assert (await say(opened, "four")).outcome == "completed"
        assert len(frail.asked) == before + 1


async def test_a_history_that_was_answered_elsewhere_costs_two_messages() -> None:
    """Right after a switch: a message that another model has answered is given up only when everything else was tried."""
    frail, other = Frail(), ScriptedBackend([[Say("Fine")]])
    async with stage(bench=Bench(frail.backend, others={"other": other})) as opened:
        await opened.create()
        await switch(opened, backend="other")
        assert (await say(opened, "<bad> history")).outcome == "completed"
        await switch(opened, backend="scripted")
        outcomes = [(await say(opened, text)).outcome for text in ("one", "two", "three", "four", "five")]
        assert outcomes == ["failed", "failed", "completed", "completed", "completed"]
        assert "The earlier conversation was here" in frail.asked[-1][1]
        assert all(word in frail.asked[-1][1] for word in ("three", "four", "five"))
        assert frail.answers[-1]
        assert frail.answers[-2]


async def test_a_picture_that_was_answered_elsewhere_is_told_as_a_line() -> None:
    frail, other = Frail(), ScriptedBackend([[Say("Fine")]])
    async with stage(bench=Bench(frail.backend, others={"other": other})) as opened:
        await opened.create()
        await switch(opened, backend="other")
        await say(opened, "what is this?", FilePart(media_type="image/png", data=b"<bad>", name="a.png"))
        await switch(opened, backend="scripted")
        outcomes = [(await say(opened, text)).outcome for text in ("one", "two", "three", "four")]
        assert outcomes == ["failed", "completed", "completed", "completed"]
        assert "what is this?" in frail.asked[-1][1]
        assert "a.png (image/png, 5 bytes) was attached here" in frail.asked[-1][1]


async def test_a_model_that_answered_it_all_and_dies_of_its_length_now_is_asked_without_the_history() -> None:
    frail = Frail()
    async with frail_stage(frail) as opened:
        await say(opened, "a <large> past")
        answer = frail._answer

        def heavier(request: BackendRequest) -> list[Step]:
            frail.is_down = "<large>" in msgspec.json.encode(request.messages).decode()
            return answer(request)

        opened.bench.backends["scripted"] = ScriptedBackend(heavier)
        outcomes = [(await say(opened, text)).outcome for text in ("one", "two", "three", "four", "five")]
        assert outcomes == ["failed", "failed", "completed", "completed", "completed"]


async def test_an_update_brings_everything_back() -> None:
    frail = Frail()
    async with frail_stage(frail) as opened:
        for text in ("<bad>", "two", "three"):
            await say(opened, text)
        await switch(opened, temperature=0.5)
        assert (await say(opened, "four")).outcome == "failed", "it is tried again"
        assert (await say(opened, "five")).outcome == "completed"


@pytest.mark.parametrize("status", [401, 402, 404, 429])
async def test_what_cannot_be_about_the_content_is_not_probed(status: int) -> None:
    frail = Frail()
    frail.failure = lambda: answered(status)
    frail.is_down = True
    async with frail_stage(frail) as opened:
        for number in range(4):
            await say(opened, f"message {number}")
        assert not [event for event in await opened.events() if isinstance(event, RequestAdapted)]


async def test_a_provider_that_wants_to_be_left_alone_is_not_probed() -> None:
    frail = Frail()
    frail.failure = lambda: BackendUnavailable("Frail is closed until tomorrow", retry_after_s=3600.0)
    frail.is_down = True
    async with frail_stage(frail) as opened:
        for number in range(4):
            await say(opened, f"message {number}")
        assert len(frail.asked) == 4


async def test_a_fallback_answers_and_nothing_is_probed() -> None:
    frail, other = Frail(), Frail()
    async with stage(bench=Bench(frail.backend, others={"other": other.backend})) as opened:
        await opened.create(fallbacks=("other:m",))
        frail.is_down = True
        for number in range(4):
            assert (await say(opened, f"message {number}")).outcome == "completed"
        assert not [event for event in await opened.events() if isinstance(event, RequestAdapted)]
        assert "message 0" in other.asked[-1][1]


@pytest.mark.parametrize("turn_timeout_s", [60.0, 600.0])
async def test_silence_until_the_end_of_the_turn_is_no_end_of_the_session(turn_timeout_s: float) -> None:
    """A server that hangs: the backend's own patience may be longer than the turn."""

    class Hanging:
        """As the scripted one, but silent about what is bad."""

        def __init__(self) -> None:
            self.held: list[str] = []
            self.inner = ScriptedBackend(lambda request: [Say("Fine")])

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        @asynccontextmanager
        async def stream(self, request: BackendRequest) -> AsyncIterator[Any]:
            self.held.append(msgspec.json.encode(request.messages).decode())
            if "<bad>" in self.held[-1]:
                await asyncio.sleep(300.0)
                raise BackendUnavailable("silent for too long")
            async with self.inner.stream(request) as batches:
                yield batches

    hanging = Hanging()
    async with stage(bench=Bench(hanging)) as opened:  # type: ignore[arg-type]
        await opened.create(turn_timeout_s=turn_timeout_s)
        assert (await say(opened, "<bad>")).code == "turn_timeout"
        assert (await say(opened, "two")).outcome == "completed"
        assert (await say(opened, "three")).outcome == "completed"
        before = len(hanging.held)
        assert (await say(opened, "four")).outcome == "completed"
        assert len(hanging.held) == before + 1


async def test_failures_that_the_end_of_the_turn_cuts_short_are_no_end_of_the_session() -> None:
    """A server that asks for a long pause after each failure: the turn is over before its last attempt."""
    frail = Frail()
    frail.failure = lambda: BackendUnavailable("Frail fell over", retry_after_s=40.0)
    async with frail_stage(frail, turn_timeout_s=60.0) as opened:
        assert (await say(opened, "<bad>")).code == "turn_timeout"
        assert (await say(opened, "two")).outcome == "completed"


async def test_a_rate_limit_until_the_end_of_the_turn_is_no_silence() -> None:
    frail = Frail()
    frail.failure = lambda: BackendUnavailable("slow down", retry_after_s=40.0, refused=None)
    frail.is_down = True
    async with frail_stage(frail, turn_timeout_s=60.0) as opened:
        assert (await say(opened, "one")).code == "turn_timeout"
        async with opened.registry.using(HERE) as live:
            config = live.state.config
            assert not live.state.adaptation(config.backend, config.llm_model).is_silent


async def test_a_stop_in_the_middle_of_a_probe_takes_nothing_out() -> None:
    frail = Frail()
    reached = asyncio.Event()

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(frail.backend, name)

        @asynccontextmanager
        async def stream(self, request: BackendRequest) -> AsyncIterator[Any]:
            if frail.asked and "<bad>" not in msgspec.json.encode(request.messages).decode():
                reached.set()
                await asyncio.sleep(3600.0)
            async with frail.backend.stream(request) as batches:
                yield batches

    async with stage(bench=Bench(Slow())) as opened:  # type: ignore[arg-type]
        await opened.create()
        await say(opened, "<bad>")
        await opened.send("two")
        await reached.wait()
        assert await opened.exchange.cancel(HERE)
        await opened.idle()
        async with opened.registry.using(HERE) as live:
            (adaptation,) = {live.state.adaptation(*asked) for asked in live.state._adaptations}
        assert not adaptation.in_force.out
        assert adaptation.in_vain == 0, "it has shown nothing"


@pytest.mark.parametrize("failure", ["500", "403"])
async def test_a_process_that_dies_after_any_record_changes_nothing(failure: str) -> None:
    """The probe is a fact in the log before it is made: whoever continues makes the same one, and no second one."""
    frail = Frail(failure)
    async with frail_stage(frail) as opened:
        for text in ("hello", "<bad>", "two", "three", "four"):
            await say(opened, text)
        records = list(await opened.store.log.read(HERE))
    for cut in range(2, len(records)):
        other = Frail(failure)
        store = await store_with(records[:cut])
        async with stage(store=store, bench=Bench(other.backend)) as opened:
            async with opened.registry.using(HERE) as live:
                assert violations(render(live.state)) == []
            await opened.idle()
            # At most the turn of `<bad>` itself is still to fail, and the one that shows that it did not fail by itself.
            outcomes = [(await say(opened, text)).outcome for text in ("and now?", "and then?")]
            assert outcomes == ["completed", "completed"], f"after record {cut}"
            events = await opened.events()
        assert other.broken == []
        probes = [event for event in events if isinstance(event, RequestAdapted) and event.is_probe]
        turns = [event for event in events if isinstance(event, TurnEnded)]
        assert len(probes) <= len(turns) - 1
        assert all(len(same) <= 9 for same in attempts_of(events)), "one more than the retries, and those of the deaths"
        await store.close()


def attempts_of(events: Sequence[Any]) -> list[list[StepStarted]]:
    """Returns the attempts of each turn."""
    found: list[list[StepStarted]] = [[]]
    for event in events:
        if isinstance(event, TurnEnded):
            found.append([])
        elif isinstance(event, StepStarted):
            found[-1].append(event)
    return found


async def test_the_requests_of_a_session_begin_with_each_other_except_where_something_is_probed() -> None:
    """Prompt caches: once it is known, each request begins with the one before."""
    frail = Frail()
    async with frail_stage(frail) as opened:
        for text in ("hello", "<bad>", "two", "three", "four", "five", "six"):
            await say(opened, text)
    held = [json.loads(text) for is_answered, text in frail.asked if is_answered]
    for former, later in itertools.pairwise(held[2:]):
        assert later[: len(former)] == former
