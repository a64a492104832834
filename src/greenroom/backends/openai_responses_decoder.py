"""The answer of the Responses dialect, from bytes to stream items, without I/O.

Theory of operation: a response is made of output items (`Item`), and these of texts, each of which becomes a `Part`. An
item is announced, grows by deltas and is then said again as a whole; at the end the response is said again as a whole. What is
whole is the truth about everything but text that was already passed on: so an answer is complete also where a server leaves
announcements or deltas out, or sends nothing but the end. Items are told apart by their id, which some gateways change from event to
event, and by their place in the output, which some servers leave out or repeat: whichever of the two is known.

The answer ends with `response.completed`, `response.incomplete` or `response.failed`; whatever comes later is ignored. Where a server
says none of them before its stream ends, an answer is whole if all of its items are, and the last one is a message or a call.

Rule: what the dialect calls things is known here; what is made of it is `parts_writer`'s.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, Final

import msgspec

from greenroom.backends.faults import Fault, fault_of
from greenroom.backends.given import annotated, decoded, source_of
from greenroom.backends.openai_responses_events import (
    ARGUMENTS,
    DELTAS,
    DONES,
    ENDS,
    REFUSAL,
    TEXT,
    Event,
    Kind,
    number_of,
    read,
    read_whole,
)
from greenroom.backends.openai_responses_items import UNCLAIMED, Item, TextKey, texts_of
from greenroom.backends.parts_writer import SHOWN_MAX, Part, StreamDecoder, entries_of, json_of
from greenroom.backends.sse import DONE
from greenroom.backends.token_counts import usage_of
from greenroom.backends.unicode_text import valid_unicode
from greenroom.errors import BackendError
from greenroom.messages import FilePart, PartKind, Sidecar
from greenroom.tool_arguments import whole_object

DIALECT: Final = "openai-responses"
"""Name that the sidecars of this dialect carry."""

_BLAMING: Final = frozenset({"bio_policy", "data_residency_mismatch", "misalignment_policy_violation"})
_END_BEGUN: Final = b'"response.completed"'
_BEGUN_BYTES: Final = 200

_BLAMING_PREFIXES: Final = ("image_", "empty_image", "failed_to_download", "unsupported_image")
"""Codes of failed responses that are about what was asked, though their names do not say so to `faults`."""


class ResponsesDecoder(StreamDecoder):
    """Decodes one answer."""

    def _prepare(self) -> None:
        self._outputs: list[Item] = []
        self._by_id: dict[str, Item] = {}
        self._by_index: dict[int, Item] = {}
        # Where the last delta belonged, and its text: most deltas follow one of the same text.
        self._place: tuple[Any, ...] | None = None
        self._place_text: Part | None = None
        self._has_cut_call = False
        self._is_cut = False
        """The stream ends within an event that is not the end of the answer."""

    # --- events, the frequent one first ---------------------------------------------------------------------------------

    def _take(self, payload: bytes) -> None:
        if self._is_ended:
            return
        try:
            event = read(payload)
        except (ValueError, RecursionError) as error:
            if payload.strip() == DONE:
                if word := self._unsaid_end():
                    self._note_end(word)
                    self._end()
                return  # most servers that say it do so after the end
            self._raise_if_error(payload)
            self._is_cut = _END_BEGUN not in payload[:_BEGUN_BYTES]
            raise self._unreadable(payload) from error
        place = (event.type, event.item_id, event.output_index, event.content_index, event.summary_index)
        if place == self._place and self._place_text is not None:
            if event.delta:
                self._grow(self._place_text, event.delta)
            return
        self._place = None
        kind = _str(event.type)
        if (about := DELTAS.get(kind)) is None:
            self._take_rare(kind, event, payload)
        elif event.delta:
            item = self._item(event, about.item)
            if item.is_ended:
                raise self._garbled("more of an output item that has ended")
            self._place_text = self._text(item, (about.name, number_of(event, about)), about.part)
            self._place = place
            self._grow(self._place_text, event.delta)

    def _take_rare(self, kind: str, event: Event, payload: bytes) -> None:
        if (about := DONES.get(kind)) is not None:
            whole = event.arguments if about is ARGUMENTS else event.refusal if about is REFUSAL else event.text
            self._settle(event, about, whole)
        elif (end := ENDS.get(kind)) is not None:
            self._take_end(end, event)
        elif not kind and event.object == "response":
            self._take_whole(payload)
        elif kind == "error" or (event.error and event.response is None):
            raise self._reported(event.error or {"code": event.code, "message": event.message}, payload)
        else:
            match kind:
                case "response.output_item.added":
                    self._add(event)
                case "response.output_item.done":
                    self._complete(event)
                case "response.output_text.annotation.added":
                    self._annotate(event)
                case "response.created" | "response.in_progress" | "response.queued":
                    self._begin(event)
                case _:  # The progress of the provider's own tools, and what is yet to be invented.
                    self._raise_if_error(payload, by_form=not kind)

    def _take_whole(self, payload: bytes) -> None:
        """Takes an answer that is not streamed: the response alone."""
        response = read_whole(payload)
        status = response.get("status", "completed")
        if status not in ENDS.values():
            raise self._garbled(f"a response that is {status!r}, and does not stream it")
        self._take_end(status, Event(response=response))

    def _begin(self, event: Event) -> None:
        before = self._response_id
        self._note(event.response)
        if event.type == "response.created" and before and self._response_id != before and self._outputs:
            # A gateway asked a second time because its provider failed. What has been passed on cannot be taken back here,
            # and a call that stands in both answers would be run twice: whoever asked has to ask again.
            raise self._garbled("a second response in the middle of the first")

    def _add(self, event: Event) -> None:
        raw = self._raw_of(event)
        if _str(raw.get("id")) not in self._by_id:
            self._open(raw, self._index(event))

    def _complete(self, event: Event) -> None:
        raw = self._raw_of(event)
        index = self._index(event)
        item = self._known(_str(raw.get("id")), index, raw["type"]) or self._open(raw, index)
        if not item.is_ended:
            item.say(raw)
            self._end_item(item, is_whole=True)

    def _settle(self, event: Event, about: Kind, whole: Any) -> None:
        item = self._item(event, about.item, is_late=True)
        if not item.is_ended and whole and (isinstance(whole, str) or about is ARGUMENTS):
            self._settle_text(self._text(item, (about.name, number_of(event, about)), about.part), whole)

    def _annotate(self, event: Event) -> None:
        item = self._item(event, "message", is_late=True)
        if not item.is_ended:
            self._parts.spend(len(msgspec.json.encode(event.annotation)))
            item.annotations.setdefault(number_of(event, TEXT), []).append(event.annotation)
            self._parts.give_all(annotated(event.annotation))

    def _grow(self, text: Part, piece: Any) -> None:
        if piece.__class__ is not str:
            if text.kind != "tool_call":
                raise self._garbled(f"text that is of the type {type(piece).__name__}")
            piece = json_of(piece)
        if text.is_settled or text.is_ended:
            raise self._garbled("more of a text that has ended")
        self._parts.grow(text, piece)

    def _settle_text(self, text: Part, whole: Any) -> None:
        """Takes a text that is said as a whole, mostly again.

        What was passed on of other texts stands: they are for people, and cannot be taken back.
        """
        if text.is_settled or text.is_ended:
            return
        if text.kind == "tool_call":
            self._settle_arguments(text, whole)
        elif not text.has_spoken and isinstance(whole, str) and whole:
            self._grow(text, whole)
        text.is_settled = True

    def _settle_arguments(self, text: Part, whole: Any) -> None:
        if whole is None:
            return
        if not isinstance(whole, str):
            whole = json_of(whole)
        said = text.arguments()
        if whole.startswith(said):
            if missing := whole[len(said) :]:
                self._grow(text, missing)
        elif whole and whole_object(said) is None:
            raise self._garbled("the arguments of a call twice, and different ones")

    # --- which item, which text -----------------------------------------------------------------------------------------

    def _raw_of(self, event: Event) -> dict[str, Any]:
        raw = event.item
        if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
            raise self._garbled("an output item without a type")
        return raw

    def _index(self, event: Event) -> int | None:
        index = event.output_index
        if not isinstance(index, int) or isinstance(index, bool):
            return None
        if index < 0:
            raise self._garbled(f"the output index {index}")
        return index

    def _known(self, item_id: str, index: int | None, type_: str, *, is_late: bool = False) -> Item | None:
        """Returns the item that is meant. One that has ended is meant if its id says so, or by what is said again of it."""
        item = self._by_id.get(item_id) if item_id else None
        if item is not None and item.type == type_:
            return item
        if index is not None:
            item = self._by_index.get(index)
        elif not item_id:
            item = next((item for item in reversed(self._outputs) if item.type == type_), None)
        if item is None or item.type != type_:
            return None
        return item if is_late or not item.is_ended else None

    def _item(self, event: Event, type_: str, *, is_late: bool = False) -> Item:
        """Returns the item that an event is about, announced or not."""
        item_id = _str(event.item_id)
        if not item_id.isascii():
            item_id = valid_unicode(item_id)
        index = self._index(event)
        return self._known(item_id, index, type_, is_late=is_late) or self._open({"type": type_, "id": item_id}, index)

    def _open(self, raw: dict[str, Any], index: int | None) -> Item:
        self._parts.check_count(len(self._outputs))
        item = Item(raw)
        self._outputs.append(item)
        if item.item_id:
            self._by_id[item.item_id] = item
        if index is not None:
            self._by_index[index] = item
        if item.is_opaque:
            item.unclaimed = self._started(item, "opaque")
        elif item.type == "reasoning":
            item.unclaimed = self._started(item, "reasoning")
        return item

    def _text(self, item: Item, key: TextKey, kind: PartKind) -> Part:
        text = item.texts.get(key)
        if text is None:
            text, item.unclaimed = item.unclaimed, None
            if text is None:
                if kind == "reasoning":
                    # One after the other; what goes back does so with the last one.
                    self._end_texts(item, is_last=False)
                elif kind == "tool_call":
                    self._start_calls_before(item)
                text = self._started(item, kind)
            item.texts[key] = text
        return text

    def _start_calls_before(self, item: Item) -> None:
        """Calls stand in the order in which they were announced, whichever gets its arguments first."""
        for before in itertools.takewhile(lambda each: each is not item, self._outputs):
            if before.type == "function_call" and not (before.texts or before.unclaimed or before.is_ended):
                before.unclaimed = self._started(before, "tool_call")

    def _started(self, item: Item, kind: PartKind) -> Part:
        text = Part(kind)
        if kind != "tool_call" or _str(item.raw.get("name")):
            self._begin_part(item, text)
        return text

    def _begin_part(self, item: Item, text: Part) -> None:
        if text.kind == "tool_call":
            call_id = _str(item.raw.get("call_id")) or item.item_id
            self._parts.begin(text, call_id=call_id, name=_str(item.raw.get("name")))
        else:
            self._parts.begin(text)

    # --- ends -----------------------------------------------------------------------------------------------------------

    def _end_item(self, item: Item, *, is_whole: bool) -> None:
        """Ends an item, of which `raw` says all; `is_whole`: the provider says so, too."""
        is_whole = is_whole and item.is_finished
        for key, kind, whole in texts_of(item.raw):
            if key in item.texts or whole or kind == "tool_call":
                text = self._text(item, key, kind)
                if text.number is None:
                    self._begin_part(item, text)
                self._settle_text(text, whole)
                if kind == "tool_call" and not item.is_finished and whole_object(text.arguments()) is None:
                    self._has_cut_call = True
        item.is_ended = True
        item.is_orphan = self._is_orphan(item)
        self._end_texts(item, is_last=is_whole)
        self._give(item, is_whole=is_whole)
        item.is_said = item.is_said and is_whole
        item.raw = {}

    def _give(self, item: Item, *, is_whole: bool) -> None:
        """Gives the picture of an item, and the sources that it names as a whole, again or for the first time."""
        match item.type:
            case "message":
                for content in entries_of(item.raw.get("content")):
                    self._parts.give_all(annotated(content.get("annotations")))
            case "web_search_call":
                action = item.raw.get("action")
                for source in entries_of(action.get("sources") if isinstance(action, dict) else None):
                    self._parts.give_later(source_of(source.get("url"), source.get("title")))
            case _ if item.is_picture and is_whole and isinstance(image := item.raw.get("result"), str) and image:
                data = item.to_send_back(UNCLAIMED)
                item.goes_back = data is not None
                sidecar = self._sidecar(data) if data else None
                if sidecar is not None:
                    self._parts.spend(len(memoryview(sidecar.data)))
                self._parts.give(FilePart(media_type="", data=decoded(image), sidecar=sidecar))
            case _:
                pass

    def _is_orphan(self, item: Item) -> bool:
        """Whether a reasoning that cannot go back led to the item."""
        before = self._outputs[: self._outputs.index(item)]
        reasoning = next((each for each in reversed(before) if each.type == "reasoning"), None)
        return reasoning is not None and not reasoning.goes_back

    def _end_texts(self, item: Item, *, is_last: bool) -> None:
        ending = item.open_texts()
        if item.unclaimed is not None:
            ending.append((UNCLAIMED, item.unclaimed))
            item.unclaimed = None
        for key, text in ending:
            data = item.to_send_back(key) if is_last else None
            item.goes_back = item.goes_back or data is not None
            sidecar = self._sidecar(data) if data else None
            self._parts.end(text, sidecar)
            if sidecar is not None:
                self._parts.spend(len(memoryview(sidecar.data)))

    def _sidecar(self, data: dict[str, Any]) -> Sidecar:
        return Sidecar(backend=DIALECT, model=self._asked_model, data=msgspec.Raw(msgspec.json.encode(data)))

    def _take_end(self, end: str, event: Event) -> None:
        response = event.response if isinstance(event.response, dict) else {}
        self._note(response)
        if (status := response.get("status")) in ENDS.values():
            end = str(status)
        if end in {"failed", "cancelled"}:
            raise self._classified(
                fault_of(response.get("error") or event.error or {"message": f"the response is {end}"})
            )
        self._take_output(response.get("output"))
        self._end_items(is_whole=end == "completed")
        details = response.get("incomplete_details")
        why = _str(details.get("reason")) if isinstance(details, dict) else ""
        # A call of which its item says that it is cut off makes no answer that is whole, whatever the response says.
        self._note_end(why or ("incomplete" if self._has_cut_call else end))
        self._finish()

    def _end_items(self, *, is_whole: bool) -> None:
        for item in self._outputs:
            if not item.is_ended:
                # Announced, but never said as a whole: there is nothing that could go back.
                item.raw = {name: value for name, value in item.raw.items() if name in {"type", "name", "call_id"}}
                self._end_item(item, is_whole=is_whole)

    def _unsaid_end(self) -> str:
        last = self._outputs[-1] if self._outputs and not self._is_cut and not self._has_cut_call else None
        if last is None or not last.is_last or not all(item.is_ended and item.is_said for item in self._outputs):
            return ""
        return "completed"

    def _end(self) -> None:
        self._end_items(is_whole=True)
        self._finish()

    def _take_output(self, output: Any) -> None:
        """Takes from the whole output what has not been said before."""
        raws = (
            [raw for raw in output if isinstance(raw, dict) and isinstance(raw.get("type"), str)]
            if isinstance(output, list)
            else []
        )
        # Ids and places may be others than in the events; what is missing tells by its number.
        missing = Counter(raw["type"] for raw in raws)
        missing.subtract(item.type for item in self._outputs)
        for raw in raws:
            kind = raw["type"]
            item = self._by_id.get(_str(raw.get("id")))
            if item is None or item.type != kind:
                item = next((item for item in self._outputs if item.type == kind and not item.is_ended), None)
            if item is None and missing[kind] > 0:
                missing[kind] -= 1
                item = self._open(raw, None)
            if item is not None and not item.is_ended:
                item.say(raw)
                self._end_item(item, is_whole=True)

    # --- what the events have in common ---------------------------------------------------------------------------------

    def _note(self, response: Any) -> None:
        if not isinstance(response, dict):
            return
        self._response_id = _str(response.get("id"))[:SHOWN_MAX] or self._response_id
        self._answered_by = _str(response.get("model"))[:SHOWN_MAX] or self._answered_by
        if isinstance(usage := response.get("usage"), dict):
            self._count(usage_of(usage))

    def _classified(self, fault: Fault) -> BackendError:
        if fault.code in _BLAMING or fault.code.startswith(_BLAMING_PREFIXES):
            fault = Fault(words=fault.words, status=fault.status, kind="invalid_request_error", code=fault.code)
        return super()._classified(fault)


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""
