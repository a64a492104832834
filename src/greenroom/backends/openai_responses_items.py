"""The output items of one streamed response while they grow, and what of each the provider wants to see again.

An item is a message, a reasoning, a call of one of our tools, or something that only the provider understands. It consists of
texts (`Part`), each of which becomes a part: the content parts of a message, the summaries and the raw text of a reasoning, the
arguments of a call. An item without texts of its own is one `opaque` part; a picture is given as a whole.

Rule: what goes back is what came, without the texts that the neutral part holds; half an item never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from greenroom.backends.parts_writer import Part
from greenroom.messages import PartKind

TextKey = tuple[str, int]
"""Which text of an item: the name of its kind on the wire, and its number."""

IMAGE_CALL: Final = "image_generation_call"
"""Type of an item that holds a picture."""

UNCLAIMED: Final[TextKey] = ("", 0)
"""Stands for the text of a part that has none."""

_MEANT: Final = frozenset({"message", "reasoning", "function_call"})
_UNFINISHED: Final = frozenset({"in_progress", "incomplete"})
"""States of half an item. A provider's own tool may also be done in the states `searching` or `generating`."""

_CONTENT_TYPES: Final = {"output_text": "text", "text": "text", "refusal": "refusal"}


class Item:
    """An item of the output.

    Attributes:
        raw: what the provider has told of it, the latest.
        is_said: it has told the whole of it, and not as half an item.
        is_last: nothing needs to follow it: a call of ours, or a message that is no remark on what the model does next.
        is_orphan: a reasoning that cannot go back led to it: the provider would miss that by its id.
        goes_back: something of it is to be sent back.
        texts: in the order of their beginning.
        unclaimed: a text that has begun before anybody knew which one it is.
        annotations: those that came one by one, by content part.
    """

    __slots__ = (
        "annotations",
        "goes_back",
        "is_ended",
        "is_last",
        "is_orphan",
        "is_said",
        "item_id",
        "raw",
        "texts",
        "type",
        "unclaimed",
    )

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.type: str = raw["type"]
        self.item_id = _text(raw.get("id"))
        self.texts: dict[TextKey, Part] = {}
        self.unclaimed: Part | None = None
        self.annotations: dict[int, list[Any]] = {}
        self.is_said = False
        self.is_last = False
        self.is_ended = False
        self.is_orphan = False
        self.goes_back = False

    def say(self, raw: dict[str, Any]) -> None:
        """Takes the item as the provider says it as a whole."""
        self.raw = raw
        self.is_said = True
        self.is_last = self.type == "function_call" or (self.type == "message" and raw.get("phase") != "commentary")

    @property
    def is_opaque(self) -> bool:
        """Whether only its provider understands it."""
        return self.type not in _MEANT and not self.is_picture

    @property
    def is_picture(self) -> bool:
        """Whether it holds a picture that the model made, which is a part of its own."""
        return self.type == IMAGE_CALL

    @property
    def is_finished(self) -> bool:
        """Whether the provider does not call it half an item."""
        return str(self.raw.get("status")) not in _UNFINISHED

    def open_texts(self) -> list[tuple[TextKey, Part]]:
        """Returns the texts that have not ended."""
        return [(key, text) for key, text in self.texts.items() if not text.is_ended]

    def to_send_back(self, key: TextKey) -> dict[str, Any] | None:
        """Returns the item as the provider wants to see it again, for the part of the text `key`; `None` if there is nothing.

        What the neutral part holds is left out: text, name, arguments and `call_id`.
        """
        if not self.is_said or not self.is_finished or key[0] == "refusal":
            return None
        if self.is_orphan and (self.is_opaque or self.is_picture):
            return None
        kept = {name: value for name, value in self.raw.items() if value is not None}
        if self.is_orphan and self.type != "reasoning":
            kept.pop("id", None)
        match self.type:
            case "message":
                return _message(kept, self._content(key[1]))
            case "function_call":
                for name in ("call_id", "name", "arguments"):
                    kept.pop(name, None)
                return kept if kept.keys() - {"type", "status"} else None
            case "reasoning":
                return _reasoning(kept)
            case _ if self.is_picture:
                kept.pop("result", None)
                return kept
            case _:
                return kept

    def _content(self, number: int) -> dict[str, Any]:
        """Returns what is known of a content part beside its text."""
        contents = self.raw.get("content")
        content = contents[number] if isinstance(contents, list) and number < len(contents) else None
        extras = dict(content) if isinstance(content, dict) else {}
        if not extras.get("annotations") and number in self.annotations:
            extras["annotations"] = self.annotations[number]
        # Log probabilities are an output only, and longer than the text.
        return {name: value for name, value in extras.items() if value and name not in {"type", "text", "logprobs"}}


def texts_of(raw: dict[str, Any]) -> Iterator[tuple[TextKey, PartKind, Any]]:
    """Yields the texts that a whole item holds: which one, what it is, and the text."""
    match raw["type"]:
        case "message":
            for number, content in _objects(raw.get("content")):
                name = _CONTENT_TYPES.get(_text(content.get("type")))
                if name == "text":
                    yield ("text", number), "text", content.get("text")
                elif name == "refusal":
                    yield ("refusal", number), "refusal", content.get("refusal")
        case "reasoning":
            for number, summary in _objects(raw.get("summary")):
                yield ("summary", number), "reasoning", summary.get("text")
            for number, content in _objects(raw.get("content")):
                yield ("reasoning", number), "reasoning", content.get("text")
        case "function_call":
            yield ("arguments", 0), "tool_call", raw.get("arguments")
        case _:
            pass


def _objects(values: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, value in enumerate(values if isinstance(values, list) else ()):
        if isinstance(value, dict):
            yield number, value


def _message(kept: dict[str, Any], content: dict[str, Any]) -> dict[str, Any] | None:
    for name in ("content", "role"):
        kept.pop(name, None)
    if content:
        kept["content"] = content
    return kept if kept.keys() - {"type", "status"} else None


def _reasoning(kept: dict[str, Any]) -> dict[str, Any] | None:
    # OpenAI refuses the state of a reasoning, and insists on a summary, be it empty.
    kept.pop("status", None)
    kept.setdefault("summary", [])
    if not kept.get("content"):
        kept.pop("content", None)
    # A reasoning that is only named is looked up in what the provider stored, and nothing is stored.
    return kept if kept.get("encrypted_content") or kept.get("content") else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
