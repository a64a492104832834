"""What servers of the Chat Completions dialect add to a message and want to see again: sidecars of this dialect.

* OpenRouter streams `reasoning_details`: entries that belong to the whole message, each grown over several chunks (text, summary,
  then a signature), or encrypted and whole. Where they are meant to be read, `reasoning` says the same. They go back in the same order, unmodified (OpenRouter: *Preserving reasoning*).
* Gemini signs tool calls, in `extra_content.google.thought_signature` of the call; without it the next request of a tool loop is
  refused (Google: *Thought signatures*, section on OpenAI compatibility). It may sign a text too, beside the text in the delta.
* LiteLLM streams Claude's `thinking_blocks` with their signatures; they go back beside the content. Copilot has `reasoning_text` with a
  `reasoning_opaque`, which go back together. Databricks has entries of the type `reasoning` in the content, Mistral of the type `thinking`
  (Mistral: *Reasoning*, multi-turn: without them its models answer worse, and any other field of a message is refused); they go back there.
* `reasoning_content` is wanted back by name: DeepSeek and Moonshot, within a turn with tool calls.

Rule: kept without being understood, sent back under the name it came with, to the model that made it and to no other.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import msgspec

from greenroom.backends.openai_models import ModelTraits
from greenroom.backends.unicode_text import valid_json
from greenroom.messages import Sidecar

DIALECT: Final = "openai"
"""Name that the sidecars of this dialect carry."""

REASONING_FIELD: Final = "reasoning_content"
"""The one name under which some servers want to see the text of their reasoning again."""

DETAILS_FIELD: Final = "reasoning_details"
EXTRA_FIELD: Final = "extra_content"
THINKING_FIELD: Final = "thinking_blocks"
REASONING_TEXT_FIELD: Final = "reasoning_text"
REASONING_OPAQUE_FIELD: Final = "reasoning_opaque"
ITEMS_FIELD: Final = "reasoning_items"
"""Our name for the entries of the content that are reasoning."""

MESSAGE_FIELDS: Final = (DETAILS_FIELD, EXTRA_FIELD, THINKING_FIELD, REASONING_TEXT_FIELD, REASONING_OPAQUE_FIELD)
"""What goes back beside the content of its message."""

_GROWING: Final = ("text", "summary", "data", "thinking")
_extras: Final = msgspec.json.Decoder(dict[str, Any])


class MessageExtras:
    """What one answer brought beside its parts, put together."""

    def __init__(self) -> None:
        self._details: list[dict[str, Any]] = []
        self._extra: dict[str, Any] = {}
        self._thinking: list[dict[str, Any]] = []
        self._items: list[dict[str, Any]] = []
        self._text: list[str] = []
        self._opaque = ""

    def __bool__(self) -> bool:
        return bool(self._fields())

    def take_details(self, details: Any) -> None:
        """Takes the `reasoning_details` of a delta."""
        for entry in details if isinstance(details, list) else ():
            if not isinstance(entry, dict):
                continue
            if self._details and _continues(self._details[-1], entry):
                _grow(self._details[-1], entry)
            else:
                self._details.append(dict(entry))

    def take_extra(self, extra: Any) -> None:
        """Takes the `extra_content` of a delta: a later field replaces an earlier one of the same name."""
        if isinstance(extra, dict):
            for name, value in extra.items():
                known = self._extra.get(name)
                self._extra[name] = known | value if isinstance(known, dict) and isinstance(value, dict) else value

    def take_thinking(self, blocks: Any) -> None:
        """Takes the `thinking_blocks` of a delta: a block grows until it has its signature."""
        for block in blocks if isinstance(blocks, list) else ():
            if not isinstance(block, dict):
                continue
            last = self._thinking[-1] if self._thinking else None
            grows = (
                last is not None
                and block.get("type") == last.get("type") == "thinking"
                and not (last.get("signature") and block.get("thinking"))
            )
            if last is None or not grows:
                self._thinking.append(dict(block))
                continue
            _grow(last, {"thinking": block.get("thinking")})
            if signature := block.get("signature"):
                last["signature"] = signature

    def take_reasoning_item(self, item: dict[str, Any]) -> None:
        """Takes an entry of the content that is reasoning: its texts grow until they have a signature."""
        if isinstance(item.get("thinking"), list):
            self._take_thinking_item(item)
            return
        summary = item.get("summary")
        last = self._items[-1] if self._items else None
        if last is None or not isinstance(summary, list) or not isinstance(last.get("summary"), list):
            self._items.append(dict(item))
            return
        for number, part in enumerate(summary):
            if not isinstance(part, dict):
                continue
            known = last["summary"]
            if number < len(known) and isinstance(known[number], dict):
                known[number] = dict(known[number])
                _grow(known[number], part)
            else:
                known.append(part)

    def _take_thinking_item(self, item: dict[str, Any]) -> None:
        """Takes Mistral's form: a list of texts and references, which comes in pieces. A signature ends it."""
        last = self._items[-1] if self._items else None
        if last is None or "thinking" not in last or (last.get("signature") and item["thinking"]):
            last = {"type": "thinking", "thinking": []}
            self._items.append(last)
        last["thinking"] += item["thinking"]
        last.update({name: value for name, value in item.items() if name != "thinking" and value is not None})

    def take_reasoning_text(self, text: str) -> None:
        """Takes a piece of the text that goes back with what is opaque."""
        self._text.append(text)

    def take_opaque(self, opaque: str) -> None:
        """Takes the `reasoning_opaque` of a delta."""
        self._opaque += opaque

    def sidecar(self, model: str) -> Sidecar:
        """Returns all of it, bound to the model that gave it."""
        return sidecar_of(self._fields(), model)

    def _fields(self) -> dict[str, Any]:
        fields = {
            DETAILS_FIELD: self._details,
            EXTRA_FIELD: self._extra,
            # Without its signature a block would be refused.
            THINKING_FIELD: [block for block in self._thinking if block.get("signature") or block.get("data")],
            ITEMS_FIELD: [_joined(item) if "thinking" in item else item for item in self._items],
            REASONING_TEXT_FIELD: "".join(self._text) if self._opaque else "",
            REASONING_OPAQUE_FIELD: self._opaque,
        }
        return {name: value for name, value in fields.items() if value}


def sidecar_of(fields: dict[str, Any], model: str) -> Sidecar:
    """Returns fields of this dialect as a sidecar of the model."""
    return Sidecar(backend=DIALECT, model=model, data=msgspec.Raw(valid_json(fields)))


def fields_of(sidecar: Sidecar | None, model: str, traits: ModelTraits) -> dict[str, Any]:
    """Returns the fields in a sidecar that this model gave; none of another's, and none of what is no sidecar of ours."""
    if sidecar is None or sidecar.backend != DIALECT or sidecar.model != model:
        return {}
    if "/" not in model and traits.is_openai:
        # OpenAI knows none of these fields and refuses them. Another server has answered under the name of its model; gateways that
        # want them back put a company before the name.
        return {}
    try:
        return _extras.decode(sidecar.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Sidecars also come with imported sessions; a broken one must not cost the conversation.
        return {}


def _joined(item: dict[str, Any]) -> dict[str, Any]:
    """Returns a thinking of Mistral with texts that follow each other as one."""
    thinking: list[Any] = []
    for are_texts, parts in itertools.groupby(item["thinking"], _is_text):
        found = list(parts)
        thinking += [{**found[0], "text": "".join(part["text"] for part in found)}] if are_texts else found
    return {**item, "thinking": thinking}


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _continues(former: dict[str, Any], entry: dict[str, Any]) -> bool:
    if entry.get("type") != former.get("type") or entry.get("type") == "reasoning.encrypted":
        return False
    return all(
        entry.get(name) is None or former.get(name) is None or entry[name] == former[name] for name in ("index", "id")
    )


def _grow(former: dict[str, Any], entry: dict[str, Any]) -> None:
    for name, value in entry.items():
        if name in _GROWING and isinstance(value, str) and isinstance(former.get(name), str):
            former[name] += value
        elif value is not None and value != "":
            former[name] = value
