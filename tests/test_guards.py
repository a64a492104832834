"""The guards of conftest.py bite: each of these inner tests must fail, and say why.

Rule: a guard that nobody has seen failing is no guard.
"""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8").replace('("pytester",)', "()")
SETTINGS = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
addopts = -p no:cacheprovider --disable-plugin-autoload -p pytest_asyncio.plugin
markers =
  local_model
  virtual_time
  every_loop
"""


def run_inner(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    pytester.makeconftest(CONFTEST)
    pytester.makeini(SETTINGS)
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess("-q")


# An address of the documentation range: it belongs to nobody, in case the guard should fail.
NETWORK = """
import asyncio, socket
import pytest

def test_direct():
    socket.create_connection(("192.0.2.1", 80), timeout=0.01)

def test_swallowed():
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=0.01)
    except RuntimeError:
        pass

def test_name_lookup():
    socket.getaddrinfo("provider.example", 443)

@pytest.mark.every_loop
async def test_async():
    await asyncio.open_connection("192.0.2.1", 80)

def test_loopback_is_allowed():
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(OSError):
            socket.create_connection((host, 1), timeout=1)
"""


def test_the_network_guard_bites(pytester: pytest.Pytester) -> None:
    result = run_inner(pytester, NETWORK)
    text = result.stdout.str()
    failed = {line.split("::")[1].split(" ")[0] for line in text.splitlines() if line.startswith(("FAILED", "ERROR"))}
    assert failed >= {"test_direct", "test_swallowed", "test_name_lookup", "test_async[asyncio]", "test_async[uvloop]"}
    assert "test_loopback_is_allowed" not in failed
    assert "tried to reach '192.0.2.1': tests talk to 127.0.0.1 only" in text


ENVIRONMENT = """
import os
from pathlib import Path

def test_no_keys(home):
    assert "OPENAI_API_KEY" not in os.environ
    assert "GREENROOM_STORE" not in os.environ
    assert os.environ["GREENROOM_HOME"] == str(home)
    assert not home.exists()
"""


def test_keys_and_settings_of_the_developer_are_gone(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    monkeypatch.setenv("GREENROOM_STORE", "postgresql://production")
    run_inner(pytester, ENVIRONMENT).assert_outcomes(passed=1)


MODEL = """
import pytest

@pytest.mark.local_model
def test_model(local_model):
    assert local_model.suffix == ".gguf"
"""


def test_a_missing_model_fails_in_ci(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_TEST_MODELS", str(pytester.path / "nothing"))
    monkeypatch.setenv("CI", "true")
    result = run_inner(pytester, MODEL)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*make model*"])


def test_a_missing_model_is_skipped_loudly_elsewhere(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_TEST_MODELS", str(pytester.path / "nothing"))
    monkeypatch.delenv("CI", raising=False)
    result = run_inner(pytester, MODEL)
    result.assert_outcomes(skipped=1)


def test_a_model_that_is_there_is_used(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    (pytester.path / "models").mkdir()
    (pytester.path / "models" / "small.gguf").touch()
    monkeypatch.setenv("GREENROOM_TEST_MODELS", str(pytester.path / "models"))
    run_inner(pytester, MODEL).assert_outcomes(passed=1)


class TestBlockingCalls:
    """The event loop is guarded for our own modules, whoever's function does the blocking in the end."""

    @pytest.fixture
    def waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # A function of ours that blocks: compiled under a file name inside of the package.
        import greenroom.limits

        source = "def wait(path):\n    with open(path, 'rb') as file:\n        return file.read()\n"
        code = compile(source, str(Path(greenroom.limits.__file__).with_name("blocking.py")), "exec")
        namespace: dict[str, object] = {}
        exec(code, namespace)
        monkeypatch.setattr(greenroom.limits, "wait", namespace["wait"], raising=False)

    @pytest.mark.usefixtures("waits")
    @pytest.mark.every_loop
    async def test_ours_may_not_block(self) -> None:
        from blockbuster import BlockingError

        from greenroom import limits

        with pytest.raises(BlockingError, match=r"BufferedReader.read"):
            limits.wait(__file__)

    async def test_a_test_itself_may(self) -> None:
        assert Path(__file__).read_text(encoding="utf-8")
