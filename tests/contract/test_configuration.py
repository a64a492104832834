"""Where settings come from: file, environment, arguments; and what is said when they are wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from contract.stage import CheckedBackend
from greenroom import AgentManager, GreenroomError, InvalidConfig
from greenroom.settings import load_settings, read_file, users_home
from greenroom.trust import UntrustedConfig, distrust, needing_trust, trust

pytestmark = pytest.mark.usefixtures("_in_an_empty_folder")


@pytest.fixture
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "working-folder"
    folder.mkdir()
    monkeypatch.chdir(folder)


def write_trusted(text: str) -> Path:
    """Writes the file of the working folder, and says that it is one's own."""
    path = Path("greenroom.toml")
    path.write_text(text)
    with contextlib.suppress(InvalidConfig):  # not TOML: nothing to trust
        trust(path, needing_trust(read_file(path)), users_home())
    return path


async def where_it_keeps(manager: AgentManager, tmp_path: Path) -> set[str]:
    """Uses the manager once; returns the database files that are there afterwards."""
    async with manager:
        await manager.create_session(backend="scripted")
    return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.db")}


def made(**options: Any) -> AgentManager:
    return AgentManager(backends={"scripted": CheckedBackend()}, **options)


# --- precedence ---------------------------------------------------------------------------------------------------------


async def test_the_default_store_is_a_file_in_the_home_folder(tmp_path: Path) -> None:
    assert await where_it_keeps(made(home=tmp_path / "h"), tmp_path) == {"h/greenroom.db"}


async def test_the_home_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "from-environment"))
    assert await where_it_keeps(made(), tmp_path) == {"from-environment/greenroom.db"}


async def test_a_file_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GREENROOM_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "users"))
    monkeypatch.setenv("HOME", str(tmp_path / "users"))
    await asyncio.to_thread(write_trusted, f'home = "{tmp_path / "from-file"}"\n')
    assert await where_it_keeps(made(), tmp_path) == {"from-file/greenroom.db"}


async def test_the_file_of_the_environment_wins_over_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GREENROOM_HOME")
    Path("greenroom.toml").write_text('nonsense = "would be refused"\n')
    other = tmp_path / "other.toml"
    other.write_text(f'home = "{tmp_path / "from-other"}"\n')
    monkeypatch.setenv("GREENROOM_CONFIG", str(other))
    assert await where_it_keeps(made(), tmp_path) == {"from-other/greenroom.db"}


async def test_environment_wins_over_file_and_argument_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(write_trusted, f'store = "sqlite:///{tmp_path / "file.db"}"\n')
    assert await where_it_keeps(made(), tmp_path) == {"file.db"}
    monkeypatch.setenv("GREENROOM_STORE", f"sqlite:///{tmp_path / 'environment.db'}")
    assert await where_it_keeps(made(), tmp_path) == {"file.db", "environment.db"}
    await where_it_keeps(made(store=f"sqlite:///{tmp_path / 'argument.db'}"), tmp_path)
    await where_it_keeps(made(store="memory://"), tmp_path)
    assert {path.name for path in tmp_path.rglob("*.db")} == {"file.db", "environment.db", "argument.db"}


async def test_a_configuration_given_by_hand(tmp_path: Path) -> None:
    named = tmp_path / "named.toml"
    named.write_text(f'store = "sqlite:///{tmp_path / "named.db"}"\n')
    assert await where_it_keeps(made(config=named), tmp_path) == {"named.db"}
    given = {"store": f"sqlite:///{tmp_path / 'given.db'}"}
    assert await where_it_keeps(made(config=given), tmp_path) == {"named.db", "given.db"}


async def test_limits_are_configuration(home: Path) -> None:
    async with made(store="memory://", home=home, config={"limits": {"message_bytes_max": 10}}) as manager:
        session_id = await manager.create_session(backend="scripted")
        with pytest.raises(GreenroomError, match="10"):
            await manager.send(session_id, "far too long a message")


async def test_a_home_with_odd_letters(tmp_path: Path) -> None:
    home = tmp_path / "Grüner Raum (1) #?%20 '"
    async with made(home=home) as manager:
        session_id = await manager.create_session(backend="scripted")
    assert (home / "greenroom.db").is_file()
    async with made(home=home) as manager:
        assert manager.get_session_data(session_id) is not None


# --- what is wrong ------------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, str]] = [
    ("stroe = 'x'", "store"),
    ("stroe = 'x'", "stroe"),
    ("[limits]\nmessage_bytes = 1", "message_bytes"),
    ("[openai]\napikey = 'x'", "apikey"),
    ("port = 'many'", "port"),
    ("[limits]\nqueue_max = 'many'", "queue_max"),
    ("log_level = 'loud'", "log_level"),
    ("this is not TOML", "TOML"),
    ("store = 7", "store"),
    ("store = 'mysql://x'", "mysql"),
    ("store = 'nonsense'", "nonsense"),
    ("toolsets = ['no.such.module:Thing']", "no.such.module"),
    ("toolsets = ['os:getcwd']", "os:getcwd"),
]


@pytest.mark.parametrize(("text", "named"), WRONG)
async def test_a_wrong_file_is_refused_by_name(text: str, named: str) -> None:
    await asyncio.to_thread(write_trusted, text)
    with pytest.raises(InvalidConfig, match=named) as refused:
        await made().create_session(backend="scripted")
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("text", ["stroe = 'x'", "[limits]\nmessage_bytes = 1", "[openai]\napikey = 'x'"])
async def test_an_unknown_key_is_answered_with_the_known_ones(text: str) -> None:
    Path("greenroom.toml").write_text(text)
    known = {"stroe": "store", "message": "message_bytes_max", "apikey": "api_key"}
    with pytest.raises(InvalidConfig, match=next(name for word, name in known.items() if word in text)):
        await made().create_session(backend="scripted")


async def test_a_file_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidConfig, match="gone"):
        await made(config=tmp_path / "gone.toml").list_sessions()
    monkeypatch.setenv("GREENROOM_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(InvalidConfig, match="gone"):
        await made().list_sessions()


@pytest.mark.parametrize("name", ["GREENROOM_PORT", "GREENROOM_LOG_LEVEL"])
async def test_a_wrong_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "nonsense")
    with pytest.raises(InvalidConfig, match=name.removeprefix("GREENROOM_").lower()):
        await made().list_sessions()


async def test_postgresql_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GreenroomError, match=r"(?i)postgresql"):
        await made(store="postgresql://localhost/x").list_sessions()


async def test_a_secret_is_never_in_an_error() -> None:
    Path("greenroom.toml").write_text("token = 'hunter2-token'\n[openai]\napi_key = 'sk-hunter2'\nnonsense = 1\n")
    with pytest.raises(InvalidConfig) as refused:
        await made().list_sessions()
    assert "hunter2" not in str(refused.value)


# --- a file that came with a folder (case S13) --------------------------------------------------------------------------

EVIL = "[openai]\nbase_url = 'http://127.0.0.1:9/v1'\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (EVIL, "openai.base_url"),
        ("[openai]\napi_key = 'sk-theirs-00000000'", "openai.api_key"),
        ("[claude]\nbase_url = 'http://127.0.0.1:9'", "claude.base_url"),
        ("[backends.work]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:9'", "backends.work"),
        ("toolsets = ['shop:Shop']", "toolsets"),
        ("store = 'sqlite:///theirs.db'", "store"),
        ("home = '.'", "home"),
        ("token = 'a-token-that-they-know'", "token"),
        ("host = '0.0.0.0'", "host"),
        ("personas = '.'", "personas"),
        ("prices = '/dev/zero'", "prices"),
        ("[[server.api_keys]]\nkey = 'a-key-that-they-know'\nuser = 'default'", "server.api_keys"),
        ("[server]\norigins = ['https://their.example']", "server.origins"),
    ],
)
async def test_a_file_that_came_with_a_folder_decides_nothing_that_matters(text: str, named: str) -> None:
    path = Path("greenroom.toml")
    path.write_text(text)
    with pytest.raises(UntrustedConfig, match=f"sets {named}, and this file is not trusted yet") as refused:
        await made().create_session(backend="scripted")
    assert refused.value.code == "untrusted_config"
    assert "greenroom trust" in str(refused.value.hint)
    assert not list(Path().glob("*.db"))
    await asyncio.to_thread(write_trusted, text)
    assert await asyncio.to_thread(load_settings) is not None


def test_harmless_settings_need_no_trust() -> None:
    Path("greenroom.toml").write_text(
        "port = 9000\nlog_level = 'info'\ndefault_backend = 'local'\ndefault_model = 'm'\noverlap = 'reject'\n"
        "[user_budget]\nusd = 1.0\n[limits]\nqueue_max = 3\n"
    )
    assert load_settings().limits.queue_max == 3


def test_what_was_trusted_is_what_the_file_set_then() -> None:
    path = write_trusted(EVIL)
    path.write_text(f"port = 9000\n{EVIL}")
    assert load_settings().port == 9000
    path.write_text(EVIL.replace(":9/", ":10/"))
    with pytest.raises(UntrustedConfig):
        load_settings()
    path.write_text(EVIL)
    assert load_settings().openai.base_url == "http://127.0.0.1:9/v1"
    assert distrust(path, users_home())
    with pytest.raises(UntrustedConfig):
        load_settings()


def test_a_copy_in_another_folder_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_trusted(EVIL).read_text()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    Path("greenroom.toml").write_text(text)
    with pytest.raises(UntrustedConfig):
        load_settings()


def test_a_file_named_by_hand_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("greenroom.toml")
    path.write_text(EVIL)
    assert load_settings(file=path).openai.base_url
    monkeypatch.setenv("GREENROOM_CONFIG", "greenroom.toml")
    assert load_settings().openai.base_url


def test_the_home_that_a_file_names_is_not_where_trust_is_looked_for(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    path = Path("greenroom.toml")
    path.write_text(f"home = '{theirs}'\n{EVIL}")
    trust(path, needing_trust(read_file(path)), theirs)
    with pytest.raises(UntrustedConfig):
        load_settings()


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"x": 1}', b"\xff"])
def test_a_damaged_list_trusts_nothing(damage: bytes) -> None:
    write_trusted(EVIL)
    (users_home() / "trusted.json").write_bytes(damage)
    with pytest.raises(UntrustedConfig):
        load_settings()


# --- places beside the file, and toolsets among them (case N4) ----------------------------------------------------------

SHOP = '''
from greenroom import Toolset, tool
from {stock} import count

class {name}(Toolset):
    """A shop."""

    @tool(effect="pure")
    async def stock(self) -> str:
        """What there is."""
        return str(count)
'''


def put_shop(folder: Path, stem: str, class_name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}_stock.py").write_text("count = 7\n")
    (folder / f"{stem}.py").write_text(SHOP.format(name=class_name, stock=f"{stem}_stock"))


@pytest.mark.parametrize("entry", ["{stem}:{name}", "{stem}.py:{name}"])
async def test_a_toolset_is_found_beside_the_file(tmp_path: Path, home: Path, entry: str) -> None:
    stem, name = f"shop_{len(entry)}", f"Shop{len(entry)}"
    put_shop(tmp_path / "project", stem, name)
    config = tmp_path / "project" / "greenroom.toml"
    config.write_text(f"toolsets = ['{entry.format(stem=stem, name=name)}']\n")
    async with AgentManager("memory://", home=home, config=config) as manager:
        session_id = await manager.create_session(backend="scripted", additional_tools=[name])
        data = manager.get_session_data(session_id)
    assert data is not None
    assert data["tools"][-1] == name


async def test_a_toolset_in_a_package_beside_the_file(tmp_path: Path, home: Path) -> None:
    package = tmp_path / "project" / "bakery_of_tests"
    put_shop(package, "bread", "Bread")
    (package / "__init__.py").write_text("")
    (package / "bread.py").write_text(SHOP.format(name="Bread", stock=".bread_stock"))
    config = tmp_path / "project" / "greenroom.toml"
    config.write_text("toolsets = ['bakery_of_tests.bread:Bread']\n")
    async with AgentManager("memory://", home=home, config=config) as manager:
        await manager.create_session(backend="scripted", additional_tools=["Bread"])


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def broken(:", "SyntaxError"),
        ("nothing_of_this_name", "NameError"),
        ("raise SystemError('no')", "SystemError: no"),
        ("import no_such_module_here", "no_such_module_here"),
        ("x = 1", "has no attribute 'Shop'"),
        ("Shop = int", "is not a subclass of greenroom.Toolset"),
    ],
)
async def test_a_toolset_that_cannot_be_imported_is_a_clear_error(
    tmp_path: Path, home: Path, source: str, why: str
) -> None:
    stem = f"broken_{abs(hash(source))}"
    (tmp_path / f"{stem}.py").write_text(source)
    config = tmp_path / "greenroom.toml"
    config.write_text(f"toolsets = ['{stem}:Shop']\n")
    with pytest.raises(InvalidConfig, match=why) as refused:
        await AgentManager("memory://", home=home, config=config).create_session(backend="scripted")
    assert stem in refused.value.message


async def test_a_file_named_like_another_module_is_told(tmp_path: Path, home: Path) -> None:
    put_shop(tmp_path, "json", "Shop")
    config = tmp_path / "greenroom.toml"
    config.write_text("toolsets = ['json:Shop']\n")
    with pytest.raises(InvalidConfig, match="another module 'json'"):
        await AgentManager("memory://", home=home, config=config).create_session(backend="scripted")


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    config = tmp_path / "greenroom.toml"
    config.write_text("home = 'data'\npersonas = 'who'\nprices = 'prices.toml'\nlocal_model = 'm.gguf'\n")
    settings = load_settings(file=config, environment={})
    assert settings.home == tmp_path / "data"
    assert (settings.personas, settings.prices, settings.local_model) == (
        tmp_path / "who",
        tmp_path / "prices.toml",
        tmp_path / "m.gguf",
    )
    here = Path.cwd()
    by_hand = load_settings(file=config, environment={"GREENROOM_PRICES": "p.toml"}, arguments={"home": "h"})
    assert (by_hand.home, by_hand.prices) == (here / "h", here / "p.toml")


def test_a_store_in_a_file_is_relative_to_it(tmp_path: Path) -> None:
    """The same sessions, from whatever folder `greenroom --config` is run."""

    def store(url: str, **given: str) -> str:
        config = tmp_path / "greenroom.toml"
        config.write_text(f"store = '{url}'\n")
        return load_settings(file=config, environment={}, arguments=given).store_url

    assert store("sqlite:///data/ours.db") == f"sqlite:///{tmp_path}/data/ours.db"
    for elsewhere in ("sqlite:////srv/ours.db", "memory://", "sqlite:///:memory:", "sqlite:///a.db?mode=ro"):
        assert store(elsewhere) == elsewhere, "absolute, without a path, or refused as it is"
    assert store("sqlite:///a.db", store="sqlite:///b.db") == "sqlite:///b.db", "by hand: to the working folder"


# --- a home that cannot be used -----------------------------------------------------------------------------------------


async def test_an_unwritable_home_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("not a folder")
    manager = made(home=tmp_path / "a-file" / "home")
    with pytest.raises(GreenroomError):
        await manager.create_session(backend="scripted")
    await manager.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_home_without_permission_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    manager = made(home=tmp_path / "locked" / "home")
    with pytest.raises(GreenroomError):
        await manager.create_session(backend="scripted")
    await manager.close()


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
async def test_a_damaged_database_is_a_clear_error_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.db"
    file.write_bytes(content)
    manager = made(store=f"sqlite:///{file}")
    with pytest.raises(GreenroomError) as refused:
        await manager.create_session(backend="scripted")
    assert refused.value.code in {"corrupted", "log_unavailable"}
    await manager.close()
    assert file.read_bytes() == content


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "newer.db"
    async with made(store=f"sqlite:///{file}") as manager:
        session_id = await manager.create_session(backend="scripted")
    with contextlib.closing(sqlite3.connect(file)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        assert version >= 1
        database.execute(f"PRAGMA user_version = {version + 1}")
    manager = made(store=f"sqlite:///{file}")
    with pytest.raises(GreenroomError) as refused:
        await manager.history(session_id)
    assert refused.value.code == "newer_format"
    await manager.close()


async def test_a_cut_database_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "cut.db"
    async with made(store=f"sqlite:///{file}") as manager:
        session_id = await manager.create_session(backend="scripted")
    file.write_bytes(file.read_bytes()[:3000])
    manager = made(store=f"sqlite:///{file}")
    with pytest.raises(GreenroomError):
        await manager.history(session_id)
    await manager.close()


async def test_backends_are_not_asked_for_keys_before_they_are_used(home: Path) -> None:
    async with made(store="memory://", home=home) as manager:
        session_id = await manager.create_session(backend="openai")
        events = [event async for event in manager.stream_response(session_id, "Hi")]
    assert "RUN_ERROR" in events[-1]
    assert "backend_unauthorized" in events[-1]
    assert "OPENAI_API_KEY" in events[-1]


async def test_keys_are_taken_where_the_sdks_take_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hunter2")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")  # nobody listens at the discard port
    async with made(store="memory://", home=home, config={"limits": {"retries_max": 0}}) as manager:
        session_id = await manager.create_session(backend="openai")
        events = [event async for event in manager.stream_response(session_id, "Hi")]
    assert "backend_unavailable" in events[-1]
    assert "hunter2" not in "".join(events)


def test_the_logger_is_the_one_of_the_package() -> None:
    assert AgentManager().logger is logging.getLogger("greenroom")
