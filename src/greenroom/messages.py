"""What people, models and tools say to each other, independent of any provider.

Three small languages live here, because the families (backends, toolsets, logs) and the core all speak them:

* *stream items*: what a step produces while it streams (`PartStarted`, `PartDelta`, `PartEnded`, `UsageCounted`);
* *parts*: what a message is made of once it is complete;
* *transcript messages*: what a backend is sent.

Values hold values and never each other, so the garbage collector need not look at them (`gc=False`): long sessions hold millions.

Rule: nothing here names a provider. What only one provider understands travels in a `Sidecar`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

TYPE: Final = "type"

PartKind = Literal["text", "reasoning", "tool_call", "refusal", "opaque"]
"""`refusal` is text with which a model declines; `opaque` has no meaning outside of its sidecar (a provider's own tools)."""

FinishReason = Literal["stop", "tool_calls", "length", "refusal", "pause", "other"]
"""Why a step ended. `pause`: the provider wants to be asked again, with what it said so far at the end of the transcript."""

Outcome = Literal["ok", "error", "denied", "cancelled", "unknown"]
"""How a tool call ended. `denied`: a person, or a rule, did not let it run. `unknown`: it was started, nobody knows whether it
took effect, and it must not be run again."""


class Sidecar(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Data that one provider gave and only the same provider and model understand: signatures, encrypted reasoning.

    Attributes:
        backend: the wire dialect that it belongs to, for example `claude`.
        model: the model that made it.
        data: the provider's own JSON, as it came.
    """

    backend: str
    model: str
    data: msgspec.Raw


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Tokens of one step, or of many. Cached, cache-write and reasoning tokens are parts of the input and output totals.

    A figure is counted, estimated or unknown, and says which: tokens are the provider's count unless `estimated` is set.

    Attributes:
        cost_usd: money, where the price of every step that went in is known; else `None`. A cost that the provider states
            itself goes before the price list.
        estimated: some of the tokens were not counted by a provider, but estimated from what was sent and said. From a backend: the
            provider has told only the total, which is in `input_tokens`.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    estimated: bool = False

    def plus(self, more: Usage) -> Usage:
        """Returns the sum. The cost is known only if both are; a step that used nothing costs nothing."""
        if more == Usage():
            return self
        known = self.cost_usd is not None and more.cost_usd is not None
        return Usage(
            input_tokens=self.input_tokens + more.input_tokens,
            output_tokens=self.output_tokens + more.output_tokens,
            cached_input_tokens=self.cached_input_tokens + more.cached_input_tokens,
            cache_write_input_tokens=self.cache_write_input_tokens + more.cache_write_input_tokens,
            reasoning_tokens=self.reasoning_tokens + more.reasoning_tokens,
            cost_usd=(self.cost_usd or 0.0) + (more.cost_usd or 0.0) if known else None,
            estimated=self.estimated or more.estimated,
        )


# --- stream items ------------------------------------------------------------------------------------------------------


class PartStarted(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="part_started", tag_field=TYPE, omit_defaults=True
):
    """A part of the answer begins.

    Attributes:
        part: number of the part, unique in its step, counted from 0.
        call_id: for `tool_call`: id of the call. From a decoder: the provider's, possibly empty or repeated; in the log: unique.
        name: for `tool_call`: name of the tool as the model wrote it.
        by_provider: for `refusal`: it is the provider's explanation, not the model's words; shown, and never sent back.
    """

    part: int
    kind: PartKind
    call_id: str = ""
    name: str = ""
    by_provider: bool = False


class PartDelta(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="part_delta", tag_field=TYPE):
    """More text of an open part: of a text, a reasoning or a refusal, or of the JSON arguments of a call. Never empty."""

    part: int
    delta: str


class PartEnded(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="part_ended", tag_field=TYPE, omit_defaults=True
):
    """The part is complete, with whatever the provider wants to see again."""

    part: int
    sidecar: Sidecar | None = None


class UsageCounted(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="usage_counted", tag_field=TYPE, omit_defaults=True
):
    """The provider said what the step has used so far. Any number of times, anywhere in a stream; the last one counts.

    It is what is known of a step that never comes to its end. A provider that says nothing before the end yields none.

    Attributes:
        usage: the total since the beginning of the step.
        model: the model that answers, as far as the provider has named it.
    """

    usage: Usage
    model: str = ""


class StreamEnded(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="stream_ended", tag_field=TYPE, omit_defaults=True
):
    """The last item of a backend's stream: the step is complete. A stream that ends without it was broken.

    Attributes:
        raw_reason: the provider's own word for the reason.
        model: the model that answered, as the provider names it.
        response_id: the provider's id of the response, for support requests.
    """

    reason: FinishReason
    raw_reason: str = ""
    usage: Usage | None = None
    model: str = ""
    response_id: str = ""


# --- parts of complete messages -----------------------------------------------------------------------------------------


class TextPart(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="text", tag_field=TYPE, omit_defaults=True):
    """Text."""

    text: str
    sidecar: Sidecar | None = None


class ReasoningPart(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="reasoning", tag_field=TYPE, omit_defaults=True
):
    """What the model thought before it spoke."""

    text: str
    sidecar: Sidecar | None = None


class RefusalPart(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="refusal", tag_field=TYPE, omit_defaults=True
):
    """Text with which the model declined, or (`by_provider`) with which its provider explains that it did."""

    text: str
    by_provider: bool = False


class ToolCallPart(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="tool_call", tag_field=TYPE, omit_defaults=True
):
    """A call of a tool, as the model wrote it: the name may not exist and the arguments may not be JSON."""

    call_id: str
    name: str
    arguments: str
    sidecar: Sidecar | None = None


class OpaquePart(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="opaque", tag_field=TYPE):
    """Something that only its provider understands."""

    sidecar: Sidecar


class FilePart(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="file", tag_field=TYPE, omit_defaults=True):
    """An attachment (an image, a PDF or another file), or a picture that a model made.

    Attributes:
        media_type: for example `image/png`.
        data: the bytes (base64 in JSON).
        sidecar: of a picture: the provider's item without the picture itself.
    """

    media_type: str
    data: bytes
    name: str = ""
    sidecar: Sidecar | None = None


class SourcePart(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="source", tag_field=TYPE, omit_defaults=True):
    """Something that an answer rests on: a page, or a document. Shown to people, never sent to a model.

    Attributes:
        url: where it is: http or https, and nothing else; empty for a document, and for an address that must not become a link.
        title: what it is called. Never empty where there is no `url`.
        quote: what of it the answer rests on, or how it begins; empty if the provider did not say.
    """

    url: str = ""
    title: str = ""
    quote: str = ""


class ContextPart(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="context", tag_field=TYPE):
    """What the model is told beside a person's message: the date, the user's preferences and memories, as quoted data.

    It stands in transcripts alone: no client can send it, and users never see it.

    Attributes:
        text: as the model reads it, in a frame that no other text of the transcript can imitate. Never empty.
    """

    text: str


UserPart = TextPart | FilePart
AssistantPart = TextPart | ReasoningPart | RefusalPart | ToolCallPart | OpaquePart | FilePart
"""What a model is told that it has said."""

AnswerPart = AssistantPart | SourcePart
"""What a model says."""


# --- stream items that hold whole parts --------------------------------------------------------------------------------


class PartGiven(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="part_given", tag_field=TYPE, omit_defaults=True
):
    """A part that is there all at once: a source that the answer names, or a picture that the model made. Others may be open.

    Attributes:
        content: the part. From a backend: as the provider said it, possibly again; in the log: within bounds, each source once.
        part: number of the part. From a backend: 0; in the log: unique in its step, from `GIVEN_PARTS_FROM`.
    """

    content: SourcePart | FilePart
    part: int = 0


GIVEN_PARTS_FROM: Final = 1_000_000
"""Number of the first part that is given: beyond those of all parts that are started."""

PartItem = PartStarted | PartDelta | PartEnded | PartGiven
"""What a step consists of, and what the log keeps of it."""

StreamItem = PartStarted | PartDelta | PartEnded | PartGiven | UsageCounted | StreamEnded
"""What a backend yields."""


# --- the transcript: what a backend is sent -----------------------------------------------------------------------------


class UserMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="user", tag_field="role"):
    """What a person said. Never empty, and two never follow each other."""

    parts: tuple[UserPart | ContextPart, ...]


class AssistantMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="assistant", tag_field="role"):
    """What one step of a model said. Has at least one part; texts are not empty; call ids are unique and well formed."""

    parts: tuple[AssistantPart, ...]


class ToolMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="tool", tag_field="role"):
    """Results of all calls of the assistant message before it, in the order of the calls."""

    results: tuple[ToolResult, ...]


class ToolResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one tool call gave back: text for the model to read. Never empty."""

    call_id: str
    name: str
    content: str
    outcome: Outcome = "ok"


TranscriptMessage = UserMessage | AssistantMessage | ToolMessage


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is told about a tool.

    Attributes:
        parameters: JSON schema of the arguments; always an object schema.
    """

    name: str
    description: str
    parameters: dict[str, Any]
