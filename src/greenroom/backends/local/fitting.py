"""Fits a request to what a small local model can do, and says what that leaves out.

Sessions move between providers with their whole history, so a request for the local model may hold anything: calls of tools
that it cannot make, pictures that it cannot see, more than fits its context. Another provider gets all of it again later:
what is left out here is left out of one request, never of the session.

* Attachments become a word in brackets.
* A model whose chat template has no tools is offered none, and is shown none: it would imitate them in its answers. Only results
  that the running turn is waiting for are told, as text.
* The oldest turns are left out when the conversation is longer than the context, many at a time, so that the beginning of what
  is sent stays the same for many turns and the server need not read it all again.
  What they told of the user (date, preferences, memories) is kept, as far as a quarter of the room holds it, the latest first.
* The embedded model gets a system prompt only when it is short, and nothing about its user: it answers worse, and much later, with
  a long one.

Rule: pure functions of request and profile; everything that is left out is named in a notice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from greenroom.interfaces import BackendRequest, Notice
from greenroom.messages import (
    AssistantMessage,
    ContextPart,
    FilePart,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolMessage,
    TranscriptMessage,
    UserMessage,
    UserPart,
)

PROMPT_TOKENS_MAX: Final = 150
"""Longest system prompt that the embedded model is given: 560 tokens cost it 5 s and most of its sense."""

EMBEDDED_PROMPT: Final = (
    "You are a chat assistant who answers questions in plain English, in one or two short sentences."
)
"""What the embedded model is told in place of a prompt that is missing or too long.

Chosen by measurement: with it, and a repeat penalty of 1.05, it answered 22 of 30 simple questions in sense and in English;
without any prompt its template puts in one of its own, with which it was 14, some in bad French and without an end.
"""

_MESSAGE_TOKENS: Final = 8  # What a chat template puts around a message, rounded up.
_TOOL_TOKENS: Final = 16


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can do.

    Attributes:
        is_embedded: the small model that comes with Greenroom, with all its needs.
        tools: whether its chat template has tools.
        context_tokens: of one conversation, prompt and answer together.
        answer_tokens: room for an answer where the request does not say.
    """

    name: str
    is_embedded: bool
    tools: bool
    context_tokens: int
    answer_tokens: int


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the model can answer.

    Attributes:
        turns_left_out: how many of the oldest turns it lacks.
        turns: how many it has.
    """

    request: BackendRequest
    turns: int
    turns_left_out: int


def fit(request: BackendRequest, profile: Profile) -> Fitted:
    """Returns the request as the model is sent it."""
    system = _system(request.system, profile)
    tools = request.tools if profile.tools else ()
    turns = [_shown(turn, profile) for turn in _turns(request.messages)]
    answer_tokens = min(request.max_tokens or profile.answer_tokens, profile.context_tokens // 2)
    room = profile.context_tokens - answer_tokens - _tokens(system) - _MESSAGE_TOKENS
    room -= sum(_TOOL_TOKENS + _tokens(msgspec.json.encode(tool).decode()) for tool in tools)
    costs = [sum(map(_message_tokens, turn)) for turn in turns]
    kept: Sequence[ContextPart] = ()
    if left_out := _turns_left_out(costs, max(room, 1)):
        told = [part for turn in turns for message in turn for part in _parts(message) if isinstance(part, ContextPart)]
        reserve = min(room // 4, sum(_tokens(part.text) for part in told))
        left_out = _turns_left_out(costs, max(room - reserve, 1))
        kept = _kept(turns[:left_out], reserve)
    return Fitted(
        request=msgspec.structs.replace(
            request,
            model=profile.name,
            system=system,
            messages=_joined(turns[left_out:], kept),
            tools=tools,
            temperature=0.0 if request.temperature is None and profile.is_embedded else request.temperature,
            reasoning_effort=None,
            thinking_budget_tokens=None,
            parallel_tool_calls=request.parallel_tool_calls if tools else None,
        ),
        turns=len(turns) - left_out,
        turns_left_out=left_out,
    )


def notices(request: BackendRequest, profile: Profile) -> Iterator[Notice]:
    """Yields what a person should know about the answer to this request."""
    if profile.is_embedded:
        yield Notice(
            code="local_demo_model",
            text=f"{profile.name} is a very small model for demonstrations: expect wrong answers. For real work set "
            "OPENAI_API_KEY or ANTHROPIC_API_KEY, run Ollama, or name a larger GGUF file in GREENROOM_LOCAL_MODEL.",
        )
    if request.tools and not profile.tools:
        yield Notice(
            code="local_no_tools",
            text=f"{profile.name} cannot use tools: in this session it has no memory, workspace or preferences.",
        )
    if profile.is_embedded and _tokens(request.system) > PROMPT_TOKENS_MAX:
        yield Notice(
            code="local_prompt_left_out",
            text=f"The persona's prompt is too long for {profile.name} (above {PROMPT_TOKENS_MAX} tokens) and is left out.",
        )
    if any(isinstance(part, FilePart) for message in request.messages for part in _parts(message)):
        yield Notice(code="local_no_attachments", text=f"{profile.name} sees the names of attachments only.")
    if request.reasoning_effort is not None or request.thinking_budget_tokens is not None:
        yield Notice(
            code="local_no_reasoning_settings",
            text="The local backend does not honour reasoning_effort and thinking_budget_tokens.",
        )
    if fit(request, profile).turns_left_out:
        yield Notice(
            code="local_history_left_out",
            text=f"The conversation is longer than the {profile.context_tokens} tokens that {profile.name} can read: it is "
            "not shown the oldest messages. The session keeps them.",
        )


def _system(system: str, profile: Profile) -> str:
    if not profile.is_embedded:
        return system
    return system if 0 < _tokens(system) <= PROMPT_TOKENS_MAX else EMBEDDED_PROMPT


# --- what of a turn is shown --------------------------------------------------------------------------------------------


def _turns(messages: Sequence[TranscriptMessage]) -> Sequence[Sequence[TranscriptMessage]]:
    """Returns the messages in groups that each begin with what a person said."""
    turns: list[list[TranscriptMessage]] = []
    for message in messages:
        if isinstance(message, UserMessage) or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def _shown(turn: Sequence[TranscriptMessage], profile: Profile) -> Sequence[TranscriptMessage]:
    shown: list[TranscriptMessage] = []
    # Of a finished turn, the answer tells what the results were.
    is_waiting = isinstance(turn[-1], ToolMessage)
    for message in turn:
        match message:
            case UserMessage():
                parts = message.parts
                if profile.is_embedded:
                    parts = tuple(part for part in parts if not isinstance(part, ContextPart))
                shown.append(UserMessage(parts=tuple(map(_user_part, parts))))
            case AssistantMessage() | ToolMessage() if profile.tools:
                shown.append(message)
            case AssistantMessage():
                said = "\n\n".join(part.text for part in message.parts if isinstance(part, TextPart | RefusalPart))
                if said.strip():
                    shown.append(AssistantMessage(parts=(TextPart(text=said),)))
            case ToolMessage():
                if is_waiting:
                    results = "\n".join(f"{result.name}: {result.content}" for result in message.results)
                    shown.append(UserMessage(parts=(TextPart(text=f"The results:\n{results}"),)))
    return shown


def _user_part(part: UserPart | ContextPart) -> UserPart | ContextPart:
    if isinstance(part, FilePart):
        return TextPart(text=f"[attachment: {part.name or part.media_type}]")
    return part


def _joined(turns: Sequence[Sequence[TranscriptMessage]], kept: Sequence[ContextPart]) -> tuple[TranscriptMessage, ...]:
    """Returns the turns as one transcript; where something between them was not shown, neighbours become one message.

    Args:
        turns: that are shown; each begins with what a person said.
        kept: of the turns before.
    """
    messages: list[TranscriptMessage] = [UserMessage(parts=tuple(kept))] if kept else []
    for message in (message for turn in turns for message in turn):
        match messages[-1:], message:
            case [UserMessage() as last], UserMessage():
                messages[-1] = UserMessage(parts=last.parts + message.parts)
            case [AssistantMessage() as last], AssistantMessage():
                messages[-1] = AssistantMessage(parts=last.parts + message.parts)
            case _:
                messages.append(message)
    return tuple(messages)


# --- how much fits ------------------------------------------------------------------------------------------------------


def _turns_left_out(costs: Sequence[int], room: int) -> int:
    """Returns how many of the oldest turns to leave out so that the rest fits; the last turn always stays.

    Turns go in blocks of half the room: the cut stays where it is until the conversation has grown by another half.
    """
    total = sum(costs)
    if total <= room:
        return 0
    gone = list(accumulate(costs[:-1]))  # gone[i]: tokens that leave with the turns up to i
    block = max(1, room // 2)
    boundary = 0
    while total - boundary > room:
        boundary += block
    return next((index + 1 for index, tokens in enumerate(gone) if tokens >= boundary), len(costs) - 1)


def _kept(gone: Sequence[Sequence[TranscriptMessage]], room: int) -> Sequence[ContextPart]:
    """Returns what the turns that are left out told of the user, the latest of it that fits, in its order."""
    told = [part for turn in gone for message in turn for part in _parts(message) if isinstance(part, ContextPart)]
    kept: list[ContextPart] = []
    for part in reversed(told):
        room -= _tokens(part.text)
        if room < 0:
            break
        kept.insert(0, part)
    return kept


def _message_tokens(message: TranscriptMessage) -> int:
    if isinstance(message, ToolMessage):
        return sum(_MESSAGE_TOKENS + _tokens(result.content) for result in message.results)
    count = _MESSAGE_TOKENS
    for part in message.parts:
        match part:
            case TextPart() | RefusalPart() | ContextPart():
                count += _tokens(part.text)
            case ToolCallPart():
                count += _MESSAGE_TOKENS + _tokens(part.arguments)
            case ReasoningPart() | OpaquePart() | FilePart():
                pass  # not sent
    return count


def _tokens(text: str) -> int:
    """Returns about how many tokens the text is, rather too many: a third of its letters, and more for those beyond ASCII."""
    return -(-len(text) // 3) + len(text.encode()) - len(text)


def _parts(message: TranscriptMessage) -> Sequence[object]:
    return message.parts if isinstance(message, UserMessage) else ()
