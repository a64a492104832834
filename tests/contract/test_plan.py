"""What an update would do, and how one is taken back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from contract.conftest import OpenStage, in_memory
from contract.stage import Stage
from contract.test_budgets import PRICES
from greenroom import InvalidArgument, Toolset, UnknownPersona, UnknownSetting, tool
from greenroom.backends.scripted import Call, Finish, Say, ScriptedBackend, Think
from greenroom.interfaces import Notice
from greenroom.messages import Sidecar, Usage


class Weather(Toolset):
    """The weather."""

    @tool(effect="pure")
    async def forecast(self) -> str:
        """Forecasts."""
        return "rain"


SIGNED = Sidecar(backend="scripted", model="m1", data=msgspec.Raw(b'{"signature":"x"}'))


async def told(open_stage: OpenStage, home: Path) -> tuple[Stage, str]:
    """Returns a session with signed thoughts, a call, and 300 tokens of history."""
    path = home / "prices.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        PRICES.replace("1000000.0", "10.0\ncached_input_usd = 1.0").replace("2000000.0", "20.0"), encoding="utf-8"
    )
    other = ScriptedBackend(dialect="other", notices=[Notice(code="no_images", text="it sees no images")])
    script = [
        [Think("Hm.", SIGNED), Call("forecast"), Finish(usage=Usage(input_tokens=100, output_tokens=50))],
        [Say("Rain."), Finish(usage=Usage(input_tokens=250, output_tokens=50))],
        "Again.",
    ]
    stage = open_stage(script, toolsets=[Weather], backends={"other": other}, config={"prices": str(path)})
    session_id = await stage.session(llm_model="m1", additional_tools=["Weather"])
    await stage.say(session_id)
    return stage, session_id


async def test_a_plan_says_what_would_be_lost_and_changes_nothing(open_stage: OpenStage, home: Path) -> None:
    stage, session_id = await told(open_stage, home)
    seq = stage.data(session_id)["last_seq"]
    plan = await stage.manager.plan_update(
        session_id, backend="other", llm_model="m2", additional_tools=[], title="New", temperature=0.5
    )
    assert {change.name: (change.before, change.after) for change in plan.changes} == {
        "llm_model": ("m1", "m2"),
        "backend": ("scripted", "other"),
        "additional_tools": (("Weather",), ()),
        "temperature": (None, 0.5),
        "title": ("", "New"),
    }
    assert [(loss.kind, loss.count) for loss in plan.losses] == [("signatures", 1), ("tools", 1), ("notice", 1)]
    assert "scripted:m1" in plan.losses[0].text
    assert "'forecast'" in plan.losses[1].text
    assert plan.losses[2].text == "it sees no images"
    assert plan.history_tokens == 300
    assert (plan.context_window, plan.fits) == (None, None), "nobody knows this model"
    assert plan.config_version == 2
    assert (stage.data(session_id)["last_seq"], stage.data(session_id)["llm_model"]) == (seq, "m1")


async def test_a_plan_says_whether_it_fits_and_what_the_cache_costs(open_stage: OpenStage, home: Path) -> None:
    stage, session_id = await told(open_stage, home)
    plan = await stage.manager.plan_update(session_id, llm_model="dear-1")
    assert (plan.context_window, plan.fits) == (100, False)
    assert plan.cache_lost_tokens == 300
    assert plan.cache_lost_usd == pytest.approx(300 * (10.0 - 1.0) / 1_000_000)
    assert [loss.kind for loss in plan.losses] == ["signatures"], "bound to the model too"
    plan = await stage.manager.plan_update(session_id, temperature=1.0)
    assert (plan.cache_lost_tokens, plan.cache_lost_usd, plan.losses) == (0, 0.0, ())
    plan = await stage.manager.plan_update(session_id)
    assert (plan.changes, plan.config_version) == ((), 1)


@in_memory
async def test_a_real_model_has_a_known_window(open_stage: OpenStage) -> None:
    stage = open_stage()
    session_id = await stage.session()
    plan = await stage.manager.plan_update(session_id, backend="openai", llm_model="gpt-4o")
    assert (plan.context_window, plan.fits, plan.history_tokens) == (128_000, True, 0)


@in_memory
async def test_a_plan_refuses_what_the_update_would(stage: Stage) -> None:
    session_id = await stage.session()
    with pytest.raises(UnknownPersona):
        await stage.manager.plan_update(session_id, persona_name="nobody")
    with pytest.raises(UnknownSetting):
        await stage.manager.plan_update(session_id, warmth=1)
    with pytest.raises(InvalidArgument):
        await stage.manager.plan_update(session_id, temperature=3)


async def test_any_earlier_version_can_be_brought_back(open_stage: OpenStage, home: Path) -> None:
    stage, session_id = await told(open_stage, home)
    await stage.manager.update_session(session_id, temperature=0.5, title="Kept")
    await stage.manager.update_session(session_id, llm_model="m2", additional_tools=[])
    await stage.manager.rollback_session(session_id, 1)
    data = stage.data(session_id)
    assert (data["config_version"], data["llm_model"], data["settings"]["temperature"]) == (4, "m1", None)
    assert "Weather" in data["tools"]
    assert data["title"] == "Kept", "a title is no part of the configuration"
    await stage.manager.rollback_session(session_id, 3)
    assert stage.data(session_id)["llm_model"] == "m2"
    await stage.manager.rollback_session(session_id, 5)
    assert stage.data(session_id)["config_version"] == 5, "it is in force already"
    await stage.say(session_id)
    assert stage.last_request.model == "m2"


@in_memory
@pytest.mark.parametrize("version", [0, 2, -1, "1", None, True])
async def test_a_version_that_never_was_is_refused(stage: Stage, version: object) -> None:
    session_id = await stage.session()
    with pytest.raises(InvalidArgument, match="from 1 to 1"):
        await stage.manager.rollback_session(session_id, version)  # type: ignore[arg-type]
    assert stage.data(session_id)["config_version"] == 1


async def test_a_version_whose_persona_is_gone_is_refused(open_stage: OpenStage, home: Path) -> None:
    folder = home / "personas"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "guest.md").write_text("You are a guest.", encoding="utf-8")
    stage = open_stage()
    session_id = await stage.session(persona_name="guest")
    await stage.manager.update_session(session_id, persona_name="default")
    (folder / "guest.md").unlink()
    with pytest.raises(UnknownPersona):
        await stage.manager.rollback_session(session_id, 1)
    assert stage.data(session_id)["config_version"] == 2
