"""Which backend is the default, and what is said about the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.conftest import NO_OLLAMA, Run
from cli.provider import Say, provider
from greenroom.backends.local.model import EMBEDDED
from greenroom.errors import BackendUnavailable, InvalidArgument
from greenroom.interfaces import Persona
from greenroom.manager import AgentManager
from greenroom.server.place import Place
from greenroom.settings import BackendSettings, Settings
from greenroom.usable import Candidate, Defaults, answers_for_show, choose, claude, local, local_models, ollama, openai

NO_KEYS = {"OLLAMA_HOST": NO_OLLAMA}


def settings(home: Path, **values: Any) -> Settings:
    return Settings(home=home, **values)


def put_model(home: Path, name: str = EMBEDDED.file_name) -> Path:
    folder = home / "models"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(b"GGUF" + bytes(60))
    return path


async def chosen(home: Path, environment: dict[str, str], **values: Any) -> Candidate:
    choice = await choose(settings(home, **values), {**NO_KEYS, **environment})
    return choice.candidate


# --- the order ----------------------------------------------------------------------------------------------------------


async def test_a_key_for_openai_comes_first(home: Path) -> None:
    candidate = await chosen(home, {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b"})
    assert (candidate.backend, candidate.why, candidate.model) == ("openai", "OPENAI_API_KEY is set", None)


@pytest.mark.parametrize("variable", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
async def test_then_a_key_for_claude(home: Path, variable: str) -> None:
    candidate = await chosen(home, {variable: "b"})
    assert (candidate.backend, candidate.why) == ("claude", f"{variable} is set")


async def test_then_an_ollama(home: Path) -> None:
    put_model(home)
    with provider(lambda _: [Say("x")]) as running:
        running.models = ["nomic-embed-text:latest", "llama3.2:latest", "qwen3:8b"]
        url = running.base_url.removesuffix("/v1")
        choice = await choose(settings(home), {"OLLAMA_HOST": url})
    assert (choice.candidate.label, choice.candidate.backend, choice.candidate.model) == (
        "Ollama",
        "ollama",
        "llama3.2:latest",
    )
    assert choice.reason == f"it answers at {url} with llama3.2:latest and 1 more"


async def test_then_the_local_model(home: Path) -> None:
    put_model(home)
    candidate = await chosen(home, {})
    assert (candidate.backend, candidate.is_usable, candidate.is_demo) == ("local", True, True)


async def test_the_local_model_too_when_it_is_not_there(home: Path) -> None:
    candidate = await chosen(home, {})
    assert (candidate.backend, candidate.is_usable) == ("local", False)
    assert candidate.why == "the embedded model smollm2-135m-instruct is not here yet"
    assert candidate.remedy == "greenroom model pull"


async def test_an_ollama_is_not_looked_for_when_there_is_a_key(home: Path) -> None:
    with provider(lambda _: [Say("x")]) as running:
        running.models = ["llama3.2:latest"]
        candidate = await chosen(home, {"OPENAI_API_KEY": "a", "OLLAMA_HOST": running.base_url.removesuffix("/v1")})
        assert candidate.label == "OpenAI"
        assert running.looks == 0


async def test_the_configuration_wins(home: Path) -> None:
    candidate = await chosen(home, {"OPENAI_API_KEY": "a"}, default_backend="claude", default_model="some-claude")
    assert (candidate.backend, candidate.model) == ("claude", "some-claude")


async def test_a_default_model_is_for_whatever_is_found(home: Path) -> None:
    assert (await chosen(home, {"OPENAI_API_KEY": "a"}, default_model="gpt-x")).model == "gpt-x"


# --- one by one ---------------------------------------------------------------------------------------------------------


def test_a_server_of_ones_own_needs_no_key(home: Path) -> None:
    found = openai(settings(home), {"OPENAI_BASE_URL": "http://me:secret@127.0.0.1:8000/v1"})
    assert (found.is_usable, found.why) == (True, "the base URL names 127.0.0.1:8000")
    assert not openai(settings(home), {"OPENAI_BASE_URL": "https://api.openai.com/v1"}).is_usable
    assert not openai(settings(home), {"OPENAI_BASE_URL": "http://[nonsense"}).is_usable


def test_the_key_may_stand_in_the_configuration_and_is_never_told(home: Path) -> None:
    found = claude(settings(home, claude=BackendSettings(api_key="sk-secret", base_url="https://proxy.example")), {})
    assert (found.is_usable, found.why) == (True, "the configuration has its key, and requests go to proxy.example")


@pytest.mark.parametrize("models", [[], ["nomic-embed-text:latest", "all-minilm", "bge-m3"]])
async def test_an_ollama_without_a_model_to_chat_with(models: list[str]) -> None:
    with provider(lambda _: [Say("x")]) as running:
        running.models = models
        found = await ollama({"OLLAMA_HOST": running.base_url.removesuffix("/v1")})
    assert (found.is_usable, found.remedy) == (False, "ollama pull llama3.2")


def test_a_model_of_ones_own(home: Path, tmp_path: Path) -> None:
    path = put_model(tmp_path, "qwen.gguf")
    found = local(settings(home, local_model=path))
    assert (found.is_usable, found.is_demo, found.why) == (True, False, "qwen and its runtime are here")
    missing = local(settings(home, local_model=tmp_path / "nowhere.gguf"))
    assert (missing.is_usable, missing.why) == (False, "there is no model file nowhere.gguf")


def test_which_model_is_used(home: Path, tmp_path: Path) -> None:
    other = put_model(home, "other.gguf")
    assert [(model.name, model.used) for model in local_models(settings(home))] == [("other", False)]
    outside = put_model(tmp_path, "outside.gguf")
    used = local_models(settings(home, local_model=outside))
    assert [(model.name, model.used) for model in used] == [("other", False), ("outside", True)]
    assert [model.used for model in local_models(settings(home, local_model=other))] == [True]
    assert answers_for_show(settings(home))
    assert not answers_for_show(settings(home, local_model=other))


# --- as a person meets it -----------------------------------------------------------------------------------------------


def test_chatting_with_an_ollama(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with provider(lambda _: [Say("I am a llama.")]) as running:
        running.models = ["llama3.2:latest"]
        url = running.base_url.removesuffix("/v1")
        monkeypatch.setenv("OLLAMA_HOST", url)
        ran = run("chat", "-m", "who are you?", "--session", "s")
        assert (ran.code, ran.out) == (0, "I am a llama.\n")
        assert ran.err == "ollama · llama3.2:latest · session s\n"
        assert run("chat", "-m", "and now?", "--session", "s").out == "I am a llama.\n", "and when it is gone on with"
        assert [request["model"] for request in running.requests] == ["llama3.2:latest"] * 2


def test_nothing_can_answer(run: Run) -> None:
    ran = run("chat", "-m", "x")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[0].startswith("error: nothing can answer here")
    assert ran.err.splitlines()[1].endswith("without a key: greenroom model pull")
    assert run("sessions", "list").rows == []


# --- a model that was asked for (cases N1 and N6) -----------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", NO_OLLAMA)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("model", "provider_of_it", "missing"),
    [
        ("gpt-4o", "OpenAI", "OPENAI_API_KEY is not set"),
        ("o3-mini", "OpenAI", "OPENAI_API_KEY is not set"),
        ("gpt-7-terra", "OpenAI", "OPENAI_API_KEY is not set"),
        ("claude-sonnet-5", "Claude", "ANTHROPIC_API_KEY is not set"),
    ],
)
async def test_a_model_whose_provider_cannot_be_asked_is_an_error(
    home: Path, model: str, provider_of_it: str, missing: str
) -> None:
    put_model(home)
    with pytest.raises(BackendUnavailable) as caught:
        await Defaults(settings(home)).chosen(model)
    assert caught.value.message == f"{model} is a model of {provider_of_it}, which cannot be asked here: {missing}"
    assert f"export {missing.split(maxsplit=1)[0]}=..." in str(caught.value.hint)


@pytest.mark.usefixtures("bare")
async def test_a_model_that_no_backend_is_known_to_have(home: Path) -> None:
    with pytest.raises(InvalidArgument, match="no backend is known to have a model 'tea-pot-7b'"):
        await Defaults(settings(home)).chosen("tea-pot-7b")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("environment", "model", "backend"),
    [
        ({"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b"}, "claude-sonnet-5", "claude"),
        ({"ANTHROPIC_API_KEY": "b"}, None, "claude"),
        ({"OPENAI_API_KEY": "a"}, "o4-mini", "openai"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "tea-pot-7b", "openai"),
        ({}, EMBEDDED.name, "local"),
    ],
)
async def test_the_first_backend_that_has_the_model_is_taken(
    home: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], model: str | None, backend: str
) -> None:
    put_model(home)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = await Defaults(settings(home)).chosen(model)
    assert (found.backend, found.model) == (backend, model)


async def test_ollama_has_the_models_that_it_lists(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with provider(lambda _: [Say("x")]) as running:
        running.models = ["llama3.2:latest", "qwen3:8b"]
        monkeypatch.setenv("OLLAMA_HOST", running.base_url.removesuffix("/v1"))
        defaults = Defaults(settings(home))
        for model in ("llama3.2", "llama3.2:latest", "qwen3:8b"):
            assert (await defaults.chosen(model)).backend == "ollama"
        with pytest.raises(InvalidArgument):
            await defaults.chosen("llama4")


@pytest.mark.usefixtures("bare")
async def test_a_persona_s_model_is_a_model_that_was_asked_for(home: Path) -> None:
    put_model(home)
    with pytest.raises(BackendUnavailable, match="gpt-4o is a model of OpenAI"):
        await Defaults(settings(home)).applied({}, Persona(name="sage", text="You are wise.", llm_model="gpt-4o"))


def test_the_command_line_says_what_the_model_needs(run: Run) -> None:
    ran = run("chat", "--model", "gpt-4o", "-m", "hi", "--json")
    assert ran.code == 1
    assert "gpt-4o is a model of OpenAI, which cannot be asked here: OPENAI_API_KEY is not set" in ran.err
    assert run("sessions", "list").out == ""


@pytest.mark.usefixtures("bare")
async def test_python_chooses_as_the_command_line_does(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    put_model(home)
    async with AgentManager("memory://", home=home) as manager:
        for _ in range(2):
            session_id = await manager.create_session()
        data = manager.get_session_data(session_id)
    assert data is not None
    assert (data["backend"], data["llm_model"]) == ("local", EMBEDDED.name)
    assert [record.getMessage() for record in caplog.records] == [
        f"no backend was named and OPENAI_API_KEY is not set: local answers with {EMBEDDED.name}; name a backend to choose another"
    ]


async def test_python_takes_gpt_4o_where_openai_has_a_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a")
    async with AgentManager("memory://", home=home) as manager:
        data = manager.get_session_data(await manager.create_session())
    assert data is not None
    assert (data["backend"], data["llm_model"]) == ("openai", "gpt-4o")


@pytest.mark.usefixtures("bare")
async def test_python_says_that_nothing_can_answer(home: Path) -> None:
    async with AgentManager("memory://", home=home) as manager:
        with pytest.raises(BackendUnavailable, match="nothing can answer here"):
            await manager.create_session()
        with pytest.raises(BackendUnavailable, match="gpt-4o is a model of OpenAI"):
            await manager.create_session(llm_model="gpt-4o")
        assert (await manager.list_sessions()).sessions == ()


async def test_ollama_is_asked_for_a_model_that_it_has(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P26: never for one of OpenAI's; where there is none, that is said."""
    sage = Persona(name="sage", text="You are wise.")
    with provider(lambda _: [Say("x")]) as running:
        running.models = ["nomic-embed-text:latest", "qwen3:8b"]
        monkeypatch.setenv("OLLAMA_HOST", running.base_url.removesuffix("/v1"))
        given = await Defaults(settings(home)).applied({"backend": "ollama"}, sage)
        assert given["llm_model"] == "qwen3:8b"
        running.models = []
        with pytest.raises(BackendUnavailable, match="no model of Ollama can be asked"):
            await Defaults(settings(home)).applied({"backend": "ollama"}, sage)


async def test_only_what_works_is_offered(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P26: no cloud that nobody has set up, and not the backend of tests; Ollama's default is none of OpenAI's."""
    monkeypatch.setenv("OLLAMA_HOST", NO_OLLAMA)
    async with AgentManager("memory://", home=home) as manager:
        assert await manager.create_session(backend="scripted"), "by its name it can be used"
        rows = {row["backend"]: row for row in await Place(manager, dropped_log_lines=lambda: 0).models()}
        assert not {"scripted", "azure", "azure-responses", "bedrock", "vertex"} & set(rows)
        assert rows["ollama"]["model"] is None
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://me.openai.azure.com")
        rows = {row["backend"]: row for row in await Place(manager, dropped_log_lines=lambda: 0).models()}
        assert not rows["azure"]["usable"]


def test_the_models_of_a_server_are_listed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """P26: by `greenroom models`, and counted by `greenroom doctor --online`; without it, nobody is asked."""
    with provider(lambda _: [Say("x")]) as running:
        running.models = [f"model-{number:02}" for number in range(41)]
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        listed = run("models", "--backend", "openai", "--json").json["models"]
        assert [row["model"] for row in listed] == running.models
        assert {row["source"] for row in listed} == {"provider"}
        assert run("models").rows[0] == ["openai", "model-00", "", "provider"]
        looks = running.looks
        assert "41 models" not in run("doctor").out
        assert running.looks == looks
        assert "its list has 41 models to chat with" in run("doctor", "--online").out
        running.models = []
        ran = run("models", "--backend", "openai")
        assert [row[3] for row in ran.rows] == ["known"]
        assert "names no model to chat with" in ran.err


def test_models_of_a_backend_that_cannot_be_asked(run: Run) -> None:
    ran = run("models", "--backend", "claude")
    assert (ran.code, ran.rows) == (0, [])
    assert "ANTHROPIC_API_KEY is not set" in ran.err
    unknown = run("models", "--backend", "clod")
    assert unknown.code != 0
    assert "unknown backend 'clod'" in unknown.err


def test_going_on_with_an_ollama(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """P26: `--backend ollama` for a session that was another provider's."""
    with provider(lambda _: [Say("I am a llama.")]) as running:
        running.models = ["qwen3:8b"]
        monkeypatch.setenv("OLLAMA_HOST", running.base_url.removesuffix("/v1"))
        run("chat", "-m", "x", "--backend", "scripted", "--session", "s")
        ran = run("chat", "-m", "and you?", "--backend", "ollama", "--session", "s")
        assert ran.code == 0, ran.err
        assert [request["model"] for request in running.requests] == ["qwen3:8b"]


# --- a server of one's own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "model"),
    [
        (["nomic-embed-text", "qwen3-32b"], "qwen3-32b"),
        (["qwen3-32b", "llama-3.3-70b"], "llama-3.3-70b"),
        (["a-cheap-one", "gpt-4o"], "gpt-4o"),
        (["a-cheap-one", "anthropic/claude-sonnet-5-5", "openai/gpt-6.1-sol"], "openai/gpt-6.1-sol"),
        ([], "gpt-4o"),
    ],
)
@pytest.mark.usefixtures("bare")
async def test_a_server_of_one_s_own_is_asked_for_a_model_that_it_lists(
    home: Path, listed: list[str], model: str
) -> None:
    """N1, P26: its list says what it has; `gpt-4o` is asked for only where nothing says what else there is."""
    with provider(lambda _: [Say("x")]) as running:
        running.models = listed
        config = {
            "openai": {"base_url": running.base_url},
            "backends": {"lab": {"kind": "openai", "base_url": running.base_url}},
        }
        async with AgentManager("memory://", home=home, config=config) as manager:
            for named in ({}, {"backend": "openai"}, {"backend": "lab"}):
                data = manager.get_session_data(await manager.create_session(**named))
                assert data is not None
                assert data["llm_model"] == model
            place = Place(manager, dropped_log_lines=lambda: 0)
            await place.models()
            await place.lists.settled()
            rows = [row for row in await place.models() if row["is_default"]]
            assert [row["model"] for row in rows] == [model]
            assert await place.default_model() == model
            named_model = manager.get_session_data(await manager.create_session(backend="openai", llm_model="tea-pot"))
            assert named_model is not None
            assert named_model["llm_model"] == "tea-pot"


@pytest.mark.usefixtures("bare")
async def test_a_model_that_is_set_for_a_server_of_one_s_own_is_taken(home: Path) -> None:
    with provider(lambda _: [Say("x")]) as running:
        running.models = ["qwen3-32b"]
        lab = {"kind": "openai", "base_url": running.base_url, "model": "my-fine-tune"}
        config = {"default_backend": "lab", "backends": {"lab": lab}}
        async with AgentManager("memory://", home=home, config=config) as manager:
            data = manager.get_session_data(await manager.create_session())
        assert data is not None
        assert (data["backend"], data["llm_model"]) == ("lab", "my-fine-tune")
        assert running.looks == 0


async def test_a_server_that_lists_nothing_is_asked_for_the_usual_model(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    async with AgentManager("memory://", home=home) as manager:
        data = manager.get_session_data(await manager.create_session())
    assert data is not None
    assert (data["backend"], data["llm_model"]) == ("openai", "gpt-4o")
