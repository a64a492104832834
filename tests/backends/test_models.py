"""What is known of models by their names, and which dialect each is asked in: the strict doubles, which have tables of their own, judge.

Case P1 (livekit/agents#7169, BerriAI/litellm#34569, pipecat-ai/pipecat#4043, danny-avila/LibreChat#14231) and P23
(promptfoo/promptfoo#6380).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from greenroom.backends import claude_request, openai_chat, openai_responses_request
from greenroom.backends.claude import ClaudeBackend
from greenroom.backends.claude_models import model_of
from greenroom.backends.claude_settings import headers_of
from greenroom.backends.model_ends import end_notices, successor_named
from greenroom.backends.model_facts import current_model, end_of, is_for_chat, nearest_effort
from greenroom.backends.openai import OpenAIBackend
from greenroom.backends.openai_models import traits_of
from greenroom.catalog import Catalog
from greenroom.config import EFFORTS, ModelOverride, ReasoningEffort
from greenroom.errors import BackendRejected, InvalidConfig
from greenroom.interfaces import BackendRequest
from greenroom.messages import TextPart, ToolSpec, UserMessage
from greenroom.settings import Settings, load_settings
from greenroom.testing import strict_claude_rules, strict_openai_rules, strict_responses_rules

TOOL = ToolSpec(name="roll", description="Rolls a die.", parameters={"type": "object", "properties": {}})

# Every name of the types `ChatModel` and `ResponsesModel` of OpenAI's SDK 3.54 that chats, and names that nobody knows yet.
OPENAI_MODELS = """
gpt-6-astra gpt-6.2-astra gpt-6.1-sol gpt-6.2-sol gpt-6.1-terra gpt-6-sol gpt-6-luna gpt-5.6 gpt-5.6-sol gpt-5.6-terra gpt-5.6-luna
gpt-5.5 gpt-5.5-2026-04-23 gpt-5.4 gpt-5.4-mini gpt-5.4-nano gpt-5.4-mini-2026-03-17 gpt-5.3-chat-latest gpt-5.2 gpt-5.2-2025-12-11
gpt-5.2-chat-latest gpt-5.2-pro gpt-5.2-pro-2025-12-11 gpt-5.1 gpt-5.1-2025-11-13 gpt-5.1-codex gpt-5.1-codex-mini gpt-5 gpt-5-mini
gpt-5-nano gpt-5-2025-08-07 gpt-5-chat-latest gpt-4.1 gpt-4.1-mini gpt-4.1-nano-2025-04-14 o4-mini o4-mini-2025-04-16 o3 o3-mini o1
o1-2024-12-17 gpt-4o gpt-4o-2024-11-20 gpt-4o-mini chatgpt-4o-latest gpt-4-turbo gpt-4 gpt-4-0613 gpt-4-1106-preview gpt-3.5-turbo
gpt-3.5-turbo-16k o1-pro o3-pro o3-pro-2025-06-10 o3-deep-research gpt-5.5-pro gpt-5-codex gpt-5-pro gpt-5.1-codex-max gpt-5.2-codex
gpt-5.3-codex gpt-daybreak-blue-latest gpt-rosalind-research gpt-6-rosalind gpt-5.6-cyber gpt-6-cyber gpt-6.2-astra-law ft:gpt-4o:org::id
gpt-7 gpt-7-sol gpt-7.3-vega-2027-05-05 gpt-8-pro gpt-7-codex gpt-7-astra gpt-nova-latest
""".split()  # noqa: SIM905 - eighty names

# Names that nobody has given yet, or that gateways write in their own way: encoder and double must agree on what they are.
VERSIONS = "3.5 35 4 4.1 5 5.1 5.2 5.4 5.6 5-6 6 6.2 7 9.9 10 10.2 12 99".split()  # noqa: SIM905 - eighteen versions
WORDS = ["", "-mini", "-pro", "-codex", "-codex-max", "-chat-latest", "-sol", "-astra", "-cyber", "-nothing", "-turbo"]
INVENTED = [
    *(f"gpt-{version}{word}{end}" for version in VERSIONS for word in WORDS for end in ("", "-2027-01-01", ":latest")),
    *(f"o{number}{word}" for number in (1, 3, 5, 9) for word in ("", "-mini", "-pro", "-nothing", "-deep-research")),
    *(f"{gateway}{name}" for gateway in ("openai/", "us.openai.") for name in ("gpt-5.2", "o3", "gpt-99-nothing")),
    *("gpt-nothing-new", "gpt-4-1106-preview", "gpt-4-32k", "chatgpt-5o-latest"),
]

FOREIGN = [
    "llama3.2",
    "gpt-oss-120b",
    "openai/gpt-oss-20b",
    "gpt-neo",
    "gpt2",
    "o1js",
    "qwen3",
    "grok-4",
    "mistral-large",
    "my-deployment",
]


def asked(model: str, effort: ReasoningEffort | None = None, **settings: Any) -> BackendRequest:
    hello = (UserMessage(parts=(TextPart(text="Hello"),)),)
    settings = {"tools": (TOOL,), "max_tokens": 2048, "temperature": 0.5, "stop": ("x",), **settings}
    return BackendRequest(model=model, system="Be kind.", messages=hello, reasoning_effort=effort, **settings)


@pytest.mark.parametrize("model", OPENAI_MODELS)
def test_every_model_of_openai_takes_what_it_is_asked(model: str) -> None:
    """P1: with tools, at every effort, in the dialect that it is asked in at OpenAI's own address."""
    assert refused_at_efforts(model) == {}


def test_a_model_that_nobody_knows_yet_is_asked_like_the_newest_of_its_family() -> None:
    """P1: `gpt-99-nothing` and its siblings."""
    assert {model: refused for model in INVENTED if (refused := refused_at_efforts(model))} == {}
    assert strict_openai_rules.reasoning_of("gpt-99-nothing") == strict_openai_rules.reasoning_of("gpt-6-luna")
    for model in INVENTED:
        assert traits_of(model).is_openai == strict_openai_rules.is_openai_model(model), model
        assert bool(traits_of(model).efforts) == strict_openai_rules.is_reasoning_model(model), model


def refused_at_efforts(model: str) -> dict[str | None, list[str]]:
    """Returns why OpenAI would refuse what the model is asked with tools, by effort, as far as it would."""
    backend = OpenAIBackend(api_key="k", base_url="https://api.openai.com/v1")
    found: dict[str | None, list[str]] = {}
    for effort in (None, *EFFORTS):
        request = asked(model, effort)
        if backend.dialect(request) == "openai":
            found[effort] = strict_openai_rules.refusals(openai_chat.encode(request))
        else:
            found[effort] = strict_responses_rules.refusals(openai_responses_request.encode(request))
    return {effort: refused for effort, refused in found.items() if refused}


@pytest.mark.parametrize(
    ("model", "effort", "dialect"),
    [
        ("gpt-5.6-luna", None, "openai-responses"),
        ("gpt-5.6-luna", "max", "openai-responses"),
        ("gpt-5.6-luna", "none", "openai"),
        ("gpt-7-sol", None, "openai-responses"),
        ("gpt-6.2-astra", "none", "openai-responses"),  # it knows no `none`: genkit-ai/genkit#6303
        ("gpt-5.4", None, "openai"),
        ("gpt-5.4", "low", "openai-responses"),
        ("gpt-5.4", "none", "openai"),
        ("gpt-5.1", "high", "openai"),
        ("gpt-5", "none", "openai"),
        ("gpt-5-codex", None, "openai-responses"),
        ("gpt-4o", "high", "openai"),
        ("o3", "high", "openai"),
        ("o3-pro", None, "openai-responses"),
        ("gpt-rosalind-research", None, "openai-responses"),
        ("llama3.2", "high", "openai"),
    ],
)
def test_the_dialect_follows_from_model_and_effort(model: str, effort: ReasoningEffort | None, dialect: str) -> None:
    for url in ("https://api.openai.com/v1", "https://eu.api.openai.com/v1", "https://me.openai.azure.com/openai/v1"):
        backend = OpenAIBackend(api_key="k", base_url=url)
        assert backend.dialect(asked(model, effort)) == dialect
        assert backend.dialect(asked(model, effort, tools=())) == dialect, "tools come and go"
    elsewhere = OpenAIBackend(api_key="k", base_url="https://gateway.example/v1")
    assert elsewhere.dialect(asked(model, effort)) == "openai"
    assert (
        OpenAIBackend(api_key="k", base_url="https://api.openai.com.evil.example/v1").dialect(asked(model)) == "openai"
    )


@pytest.mark.parametrize("model", FOREIGN)
def test_names_of_others_get_what_was_set(model: str) -> None:
    for effort in EFFORTS:
        body = openai_chat.encode(asked(model, effort))
        assert (body["reasoning_effort"], body["max_tokens"], body["temperature"]) == (effort, 2048, 0.5)
        assert strict_openai_rules.refusals(body) == []


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        ("gpt-5.6-sol", "minimal", "low"),
        ("gpt-5.6-sol", "max", "max"),
        ("gpt-5.5", "max", "xhigh"),
        ("gpt-5.1", "xhigh", "high"),
        ("gpt-5", "none", "minimal"),
        ("gpt-5-pro", "low", "high"),
        ("gpt-5.5-pro", "none", "medium"),
        ("gpt-6-astra", "none", "low"),
        ("o3", "max", "high"),
        ("gpt-5.1-codex-max", "max", "xhigh"),
    ],
)
def test_an_effort_that_is_not_known_is_mapped_with_a_notice(
    model: str, effort: ReasoningEffort, sent: ReasoningEffort
) -> None:
    request = asked(model, effort, temperature=None, stop=())
    assert openai_responses_request.encode(request)["reasoning"]["effort"] == sent
    codes = [notice.code for notice in openai_responses_request.notices(request)]
    assert codes == ([] if sent == effort else ["reasoning_effort_changed"])


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("model", strict_claude_rules.MODELS)
def test_every_claude_takes_what_it_is_asked(model: str, effort: ReasoningEffort) -> None:
    """P1: "Claude's efforts likewise": `xhigh` since 4.7, `max` since 4.6, none before opus-4-5."""
    request = asked(model, effort, max_tokens=None)
    body = claude_request.encode(request)
    assert strict_claude_rules.refusals(body, headers=headers_of(body)) == []
    facts = strict_claude_rules.MODELS[model]
    if effort in facts.efforts:
        assert body["output_config"]["effort"] == effort
    elif effort != "none" and facts.efforts:
        assert "reasoning_effort_changed" in [notice.code for notice in claude_request.notices(request)]


def test_the_nearest_effort_thinks_rather_more() -> None:
    assert nearest_effort("minimal", ("none", "low", "high")) == "low"
    assert nearest_effort("none", ("high",)) == "high"


# --- what an installation says (P23) --------------------------------------------------------------------------------------


def test_a_deployment_is_like_a_model() -> None:
    """P23 (promptfoo/promptfoo#6380): a reasoning model under a name of one's own."""
    override = ModelOverride(like="gpt-5.4")
    assert traits_of("prod-chat", override) == traits_of("gpt-5.4")
    assert traits_of("prod-chat", ModelOverride(like="gpt-5.4", sampling=True)).takes_sampling


def test_single_traits() -> None:
    reasoning = traits_of("prod-chat", ModelOverride(reasoning=True))
    assert (reasoning.max_tokens_field, reasoning.takes_sampling, reasoning.takes_stop) == (
        "max_completion_tokens",
        False,
        False,
    )
    assert not traits_of("gpt-5", ModelOverride(reasoning=False)).efforts
    few = traits_of("prod-chat", ModelOverride(reasoning=True, efforts=("low", "high")))
    assert (few.efforts, few.chat_efforts) == (("low", "high"), ("low", "high"))
    assert (
        traits_of("x", ModelOverride(max_tokens_field="max_completion_tokens")).max_tokens_field
        == "max_completion_tokens"
    )
    assert not traits_of("x", ModelOverride(parallel_tool_calls=False)).takes_parallel_tool_calls
    assert traits_of("x", ModelOverride(description_max=9)).description_max == 9


def test_the_dialect_can_be_said() -> None:
    models = {"x": ModelOverride(dialect="responses"), "gpt-5.6-sol": ModelOverride(dialect="chat")}
    here = OpenAIBackend(api_key="k", base_url="http://127.0.0.1:1/v1", models=models)
    assert here.dialect(asked("x")) == "openai-responses"
    own = OpenAIBackend(api_key="k", base_url="https://api.openai.com/v1", models=models)
    assert own.dialect(asked("gpt-5.6-sol")) == "openai"


def test_an_azure_name_without_points_is_known() -> None:
    """P23: `gpt-35-turbo` is no reasoning model of version 35."""
    for model in ("gpt-35-turbo", "gpt-35-turbo-16k", "azure/gpt-35-turbo"):
        assert traits_of(model) == traits_of("gpt-3.5-turbo")
        body = openai_chat.encode(asked(model, "high"))
        assert strict_openai_rules.refusals(body) == []
    assert traits_of("databricks/gpt-5-6-luna") == traits_of("gpt-5.6-luna")
    assert traits_of("us.openai.gpt-6-luna-v1:0") == traits_of("gpt-6-luna")


def test_a_claude_under_another_name() -> None:
    override = ModelOverride(like="claude-opus-5-5")
    assert model_of("our-claude", override) == model_of("claude-opus-5-5")
    assert model_of("our-claude", ModelOverride(like="claude-opus-5-5", efforts=("low",))).efforts == ("low",)


# --- models that end (P25), and what a list tells (P26) --------------------------------------------------------------------


def test_what_is_current_has_no_end() -> None:
    """P25: a default that ends is noticed here, before people notice it."""
    assert [end_of(current_model("openai")), end_of(current_model("claude"))] == [None, None]


@pytest.mark.parametrize(
    ("model", "on", "successor"),
    [
        ("gpt-5", date(2026, 12, 11), "gpt-6.1-sol"),
        ("gpt-5-2025-08-07", date(2026, 12, 11), "gpt-6.1-sol"),
        ("openai/gpt-4o", date(2027, 1, 14), "gpt-6-luna"),
        ("gpt-4o-2024-11-20", date(2027, 1, 14), "gpt-6-luna"),
        ("gpt-4o-2024-05-13", date(2026, 10, 23), "gpt-5.6-sol"),
        ("claude-sonnet-4-5-20250929", date(2026, 11, 30), "claude-sonnet-5-5"),
    ],
)
def test_when_models_end(model: str, on: date, successor: str) -> None:
    end = end_of(model)
    assert end is not None
    assert (end.on, end.successor) == (on, successor)
    assert end_of(successor) is None, "no successor has an end itself"


def test_what_lists_name_beside_models_to_talk_to() -> None:
    """P26."""
    for model in ("text-embedding-3-large", "whisper-1", "gpt-4o-mini-tts", "gpt-image-2", "gpt-realtime", "omni-moderation-latest",
                  "all-minilm:latest", "bge-m3", "dall-e-3", "sora-2", "nomic-embed-text"):  # fmt: skip
        assert not is_for_chat(model), model
    for model in (*OPENAI_MODELS, *FOREIGN, "claude-opus-5-5"):
        if "deep-research" not in model:
            assert is_for_chat(model), model


@pytest.mark.parametrize(
    ("today", "said"),
    [
        (date(2026, 8, 1), None),
        (date(2026, 11, 29), "gpt-5 ends on 2026-12-11: its provider recommends gpt-6.1-sol instead"),
        (date(2026, 12, 11), "gpt-5 ended on 2026-12-11: its provider recommends gpt-6.1-sol instead"),
        (date(2030, 1, 1), "gpt-5 ended on 2026-12-11: its provider recommends gpt-6.1-sol instead"),
    ],
)
def test_people_are_told_before_a_model_ends(today: date, said: str | None) -> None:
    """P25."""
    assert [notice.text for notice in end_notices("gpt-5", today=today)] == ([said] if said else [])
    assert end_notices("gpt-6.1-sol", today=today) == []
    assert end_notices("our-own", today=today) == []


@pytest.mark.parametrize(
    ("message", "is_helped"),
    [
        ("OpenAI answered 404: The model `gpt-5` does not exist or you do not have access to it.", True),
        ("OpenAI answered 400: The model `gpt-5` has been deprecated", True),
        ("Anthropic answered 404: model: gpt-5", True),
        ("OpenAI answered 400: Invalid 'temperature'", False),
    ],
)
def test_the_error_of_a_model_that_has_ended_names_its_successor(message: str, is_helped: bool) -> None:  # noqa: FBT001
    """P25: model_not_found, and other words for it."""
    with pytest.raises(BackendRejected) as caught, successor_named("gpt-5"):
        raise BackendRejected(message, hint="a hint")
    assert ("gpt-6.1-sol" in str(caught.value.hint)) is is_helped
    assert caught.value.message == message
    with pytest.raises(BackendRejected, match="a hint"), successor_named("our-own"):
        raise BackendRejected(message, hint="a hint")


def test_the_end_is_told_only_where_the_provider_itself_is_asked() -> None:
    """P25: clouds and gateways have dates of their own."""
    request = asked("gpt-4-turbo", temperature=None, stop=())
    codes = {
        url: [notice.code for notice in OpenAIBackend(api_key="k", base_url=url).notices(request)]
        for url in ("https://api.openai.com/v1", "https://gateway.example/v1", "https://me.openai.azure.com/openai/v1")
    }
    assert list(codes.values()) == [["model_ends"], [], []]
    claude = asked("claude-sonnet-4-0", temperature=None, stop=())
    assert [notice.code for notice in ClaudeBackend(api_key="k").notices(claude)] == ["model_ends"]
    assert not ClaudeBackend(api_key="k", base_url="https://gateway.example").notices(claude)
    assert not ClaudeBackend(cloud="vertex").notices(claude)


@pytest.mark.parametrize(
    ("key", "values", "named"),
    [
        ("nobody:x", {"like": "gpt-5"}, ["'nobody'", "openai", "claude"]),
        ("scripted:x", {"like": "gpt-5"}, ["'scripted'", "openai"]),
        ("claude:mine", {"reasoning": True, "stop": False}, ["reasoning, stop", "efforts", "like"]),
        ("bedrock:mine", {"dialect": "chat"}, ["dialect", "efforts", "like"]),
    ],
)
def test_what_nobody_could_use_of_a_model_is_an_error_that_names_what_could(
    key: str, values: dict[str, Any], named: list[str], tmp_path: Path
) -> None:
    """P23 (promptfoo/promptfoo#6380): a backend or a trait that does not exist is no setting that is silently ignored."""
    settings = Settings(home=tmp_path, models={key: ModelOverride(**values)})
    with pytest.raises(InvalidConfig) as caught:
        Catalog(settings, backends={}, toolsets=(), personas=())
    assert all(word in f"{caught.value.message} {caught.value.hint}" for word in named)


@pytest.mark.parametrize(
    ("key", "trait"), [("openai:x", "efort"), ("no-colon", "like"), (":x", "like"), ("openai:", "like")]
)
def test_unknown_keys_of_models_are_errors(key: str, trait: str, tmp_path: Path) -> None:
    """P23: the error names the trait that is none and those that are, or says where a key is no `backend:model`."""
    file = tmp_path / "my.toml"
    file.write_text(f'[models."{key}"]\n{trait} = "gpt-5"\n')
    with pytest.raises(InvalidConfig) as caught:
        load_settings(file=file)
    if trait == "like":
        assert caught.value.message == f'configuration: [models."{key}"] is not `backend:model`'
        assert (caught.value.hint or "").startswith('write the backend, a colon and the model: [models."openai:')
    else:
        assert f'`{trait}` - at `$.models."{key}"`' in caught.value.message
        assert "efforts, like" in f"{caught.value.hint}"


@pytest.mark.parametrize("name", ["My Backend", "a:b", "", "9"])
def test_a_name_that_no_backend_can_have_is_named(name: str, tmp_path: Path) -> None:
    """P23's sibling: the error showed a regular expression, and not the name."""
    with pytest.raises(InvalidConfig) as caught:
        load_settings(file={"backends": {"fine": {"kind": "openai"}, name: {"kind": "openai"}}})
    assert caught.value.message == f'configuration: [backends."{name}"] is not the name of a backend'
    assert "[backends.my-server]" in (caught.value.hint or "")
