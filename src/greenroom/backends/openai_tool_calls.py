"""The tool calls of one Chat Completions answer, put together from what servers make of the rules.

By the rules, the first chunk of a call has an `index`, an id and the name, and later chunks of the same index bring more of the
arguments. Servers leave out the index, send every call under index 0, repeat the name or invent a new id with each chunk, give
no id or the same one twice, or send the arguments as an object. What tells calls apart, in the order of its weight:

1. another index is another call, unless the chunk has no id and no name and the call before lacks the end of its arguments;
2. a chunk without a name continues a call, whatever its id says;
3. a chunk with another name begins a call;
4. a chunk with the same name begins a call only if the arguments so far are complete and it brings another id or more arguments;
5. a chunk that is a whole call, with the id, name and arguments of one before, says that call again, under whatever index. An id that
   is the name of the tool tells nothing (some adapters of Ollama give such ids), nor do equal arguments alone: two dice may be rolled.

Rule: everything that knows how servers write tool calls lives here; ids and names leave as they came.
"""

from __future__ import annotations

from typing import Any, Final

from greenroom.backends.openai_extras import EXTRA_FIELD, sidecar_of
from greenroom.backends.parts_writer import Part, PartsWriter, json_of
from greenroom.backends.unicode_text import valid_unicode
from greenroom.tool_arguments import whole_object

_PROBES_MAX: Final = 16
"""How often the arguments of one call are tried for completeness: a hostile stream must not make that quadratic."""


class _Call:
    """A call under way. Its part begins when its name is known: a name cannot be said later."""

    __slots__ = ("call_id", "extra", "index", "name", "part", "probes")

    def __init__(self, index: int | str | None) -> None:
        self.index = index
        self.call_id = ""
        self.name = ""
        self.part = Part("tool_call")
        self.probes = 0
        self.extra: Any = None

    def is_complete(self) -> bool:
        """Whether the arguments so far are a whole JSON object."""
        pieces = self.part.pieces
        if not pieces or not pieces[-1].rstrip().endswith("}") or self.probes >= _PROBES_MAX:
            return False
        self.probes += 1
        return whole_object(self.part.arguments()) is not None


class ToolCalls:
    """All calls of one answer, in the order of their beginning.

    Args:
        parts: of the answer.
        model: that sidecars are bound to.
    """

    def __init__(self, parts: PartsWriter, *, model: str) -> None:
        self._parts = parts
        self._model = model
        self._calls: list[_Call] = []
        self._current: _Call | None = None

    def __bool__(self) -> bool:
        return bool(self._calls)

    def take(self, entry: dict[str, Any]) -> None:
        """Takes one entry of `delta.tool_calls`.

        Raises:
            LimitExceeded: the arguments, the parts or the answer are too large.
        """
        function = entry.get("function")
        if not isinstance(function, dict):
            function = {}
        index = entry.get("index")
        self.take_function(function, index if isinstance(index, int | str) else None, _text(entry.get("id")))
        if (extra := entry.get(EXTRA_FIELD)) and self._current is not None:
            self._parts.spend(len(json_of(extra)))
            self._current.extra = extra

    def take_function(self, function: dict[str, Any], index: int | str | None, call_id: str) -> None:
        """Takes a call as `{"name": ..., "arguments": ...}`.

        Raises:
            LimitExceeded: as `take`.
        """
        name = _text(function.get("name"))
        arguments = _argument_text(function.get("arguments"))
        call = self._find(index, call_id)
        if call is None and not name and not call_id and self._calls and not self._calls[-1].is_complete():
            # Its beginning came under another index: servers number the parts of one call differently.
            call = self._calls[-1]
            call.index = index
        if call is None or _begins_another(call, call_id, name, arguments):
            if (again := self._said_before(call_id, name, arguments)) is not None:
                self._current = again
                again.index = index
                return
            self._parts.check_count(len(self._calls))
            call = _Call(index)
            self._calls.append(call)
        self._current = call
        call.call_id = call.call_id or call_id
        if arguments:
            self._parts.grow(call.part, arguments)
        if call.part.number is None and name:
            self._begin(call, name)

    def end(self) -> None:
        """Ends all calls.

        Raises:
            LimitExceeded: as `take`.
        """
        for call in self._calls:
            if call.part.number is None:
                self._begin(call, "")
            self._parts.end(call.part, sidecar_of({EXTRA_FIELD: call.extra}, self._model) if call.extra else None)

    def _find(self, index: int | str | None, call_id: str) -> _Call | None:
        """Returns the call that a chunk most likely continues."""
        if index is not None:
            return next((call for call in reversed(self._calls) if call.index == index), None)
        if call_id:
            same = next((call for call in reversed(self._calls) if call.call_id == call_id), None)
            if same is not None:
                return same
        return self._calls[-1] if self._calls else None

    def _said_before(self, call_id: str, name: str, arguments: str) -> _Call | None:
        """Returns the call that a whole one says again."""
        if not call_id or call_id == name or not arguments:
            return None
        return next(
            (
                call
                for call in reversed(self._calls)
                if (call.call_id, call.name) == (call_id, name)
                and call.part.arguments() == arguments
                and call.is_complete()
            ),
            None,
        )

    def _begin(self, call: _Call, name: str) -> None:
        call.name = name
        self._parts.begin(call.part, call_id=call.call_id, name=name)


def _begins_another(call: _Call, call_id: str, name: str, arguments: str) -> bool:
    if not name or not call.name:
        return False
    if name != call.name:
        return True
    has_new_id = bool(call_id and call.call_id and call_id != call.call_id)
    return (has_new_id or bool(arguments.strip())) and call.is_complete()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return valid_unicode(value if isinstance(value, str) else str(value))


def _argument_text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json_of(value)
