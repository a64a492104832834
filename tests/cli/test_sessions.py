"""`greenroom sessions`: what is stored, read, copied, moved and deleted."""

from __future__ import annotations

import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cli.conftest import Run, Serve, ids, program, run_program
from cli.provider import Gate, Say
from cli.terminal import terminal
from greenroom.config import SETTING_NAMES


def talk(run: Run, *messages: str, session: str) -> None:
    for message in messages:
        assert run("chat", "-m", message, "--backend", "scripted", "--session", session).code == 0


# --- list ---------------------------------------------------------------------------------------------------------------


def test_the_list_is_newest_first_and_for_programs(run: Run) -> None:
    talk(run, "one", "more", session="a")
    talk(run, "two", session="b")
    rows = run("sessions", "list").rows
    assert [row[:6] for row in rows] == [
        ["b", "two", "scripted", "gpt-4o", "1", "idle"],
        ["a", "one", "scripted", "gpt-4o", "2", "idle"],
    ]
    assert all(row[6].startswith("20") for row in rows)


def test_the_list_as_json_has_pages(run: Run) -> None:
    for number in range(3):
        talk(run, "x", session=f"s{number}")
    first = run("sessions", "list", "--limit", "2", "--json").json
    assert [session["session_id"] for session in first["sessions"]] == ["s2", "s1"]
    second = run("sessions", "list", "--limit", "2", "--cursor", first["cursor"], "--json").json
    assert [session["session_id"] for session in second["sessions"]] == ["s0"]
    assert second["cursor"] is None
    assert set(first["sessions"][0]["settings"]) <= {*SETTING_NAMES}


def test_more_pages_are_told_beside_the_list(run: Run) -> None:
    for number in range(2):
        talk(run, "x", session=f"s{number}")
    ran = run("sessions", "list", "--limit", "1")
    assert ids(ran.rows) == ["s1"]
    assert ran.err.startswith("there are more: --cursor ")


def test_the_list_can_be_narrowed(run: Run) -> None:
    talk(run, "about apples", session="a")
    talk(run, "about pears", session="b")
    assert ids(run("sessions", "list", "--query", "pears").rows) == ["b"]
    assert run("sessions", "list", "--user", "somebody").rows == []


@pytest.mark.parametrize("limit", ["0", "501", "many"])
def test_a_limit_has_a_range(run: Run, limit: str) -> None:
    ran = run("sessions", "list", "--limit", limit)
    assert (ran.code, ran.err.startswith("error: Invalid value for '--limit'")) == (2, True)


def test_a_cursor_is_one_of_ours(run: Run) -> None:
    ran = run("sessions", "list", "--cursor", "nonsense")
    assert (ran.code, ran.out) == (2, "") or ran.code == 1
    assert ran.err.startswith("error: ")


def test_on_a_terminal_it_is_a_table(run: Run) -> None:
    talk(run, "a title that is much too long for a terminal of this width", session="a")
    with terminal(program("sessions", "list"), size=(60, 24)) as screen:
        screen.expect("ID")
        screen.expect("CHANGED")
        screen.expect("a title that")
        screen.expect("…")
        screen.expect("gpt-4o")
        screen.expect("just now")
        assert screen.ends() == 0


# --- show ---------------------------------------------------------------------------------------------------------------


def test_a_session_is_shown(run: Run) -> None:
    talk(run, "hello", "again", session="a")
    out = run("sessions", "show", "a").out
    facts, messages = out.splitlines()[:-4], out.splitlines()[-4:]
    assert "session\ta" in facts
    assert "answered by\tscripted · gpt-4o" in facts
    assert messages == ["> hello", "You said: hello", "> again", "You said: again"]
    assert run("sessions", "show", "a", "--limit", "1").out.splitlines()[-1] == "You said: again"
    assert "> again" not in run("sessions", "show", "a", "--limit", "1").out


def test_a_text_commands_no_terminal_behind_a_pipe(run: Run) -> None:
    """S17: `greenroom sessions show a | cat` handed a raw ESC to the terminal."""
    talk(run, "\x1b[31mhello\x9b", session="a")
    out = run("sessions", "show", "a").out
    assert r"> \x1b[31mhello\x9b" in out
    assert "\x1b" not in out
    assert "\x1b" in run("sessions", "show", "a", "--json").json["messages"][0]["parts"][0]["text"]


def test_a_session_is_shown_as_json(run: Run) -> None:
    talk(run, "hello", session="a")
    shown = run("sessions", "show", "a", "--json").json
    assert shown["session"]["message_count"] == 2
    assert "agent" not in shown["session"]
    assert [(message["role"], message["parts"]) for message in shown["messages"]] == [
        ("user", [{"type": "text", "text": "hello"}]),
        ("assistant", [{"type": "text", "text": "You said: hello"}]),
    ]


@pytest.mark.parametrize(
    "arguments", [["show"], ["export"], ["fork"], ["delete", "--yes"]], ids=lambda arguments: arguments[0]
)
@pytest.mark.parametrize("session_id", ["nowhere", "not an id", "../../etc/passwd", ""])
def test_what_is_not_there_is_said(run: Run, arguments: list[str], session_id: str) -> None:
    ran = run("sessions", *arguments, session_id)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        f"error: no session {session_id!r}",
        "hint: `greenroom sessions list` shows the sessions that there are",
    ]
    assert list(Path().iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_looking_does_not_start_or_recover_anything(serve: Serve, run: Run) -> None:
    provider = serve(lambda _: [Say("partly"), Gate()])
    with subprocess.Popen(program("chat", "-m", "x", "--session", "s"), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(6) == b"partly"
        process.send_signal(signal.SIGKILL)
    last_seq = run("sessions", "show", "s", "--json").json["session"]["last_seq"]
    for arguments in (["list"], ["show", "s"], ["search", "x"], ["export", "s"], ["fork", "s"]):
        assert run("sessions", *arguments).code == 0
    run("doctor")
    run("migrate")
    after = run("sessions", "show", "s", "--json").json["session"]
    assert (after["last_seq"], after["status"]) == (last_seq, "running")
    assert len(provider.requests) == 1
    assert run("sessions", "list").rows[-1][5] == "running"


# --- search -------------------------------------------------------------------------------------------------------------


def test_what_was_said_is_found(run: Run) -> None:
    talk(run, "where are the keys", session="a")
    talk(run, "something else", session="b")
    rows = run("sessions", "search", "keys").rows
    assert set(ids(rows)) == {"a"}
    assert any(row[2:] == ["user", "where are the [keys]"] for row in rows)
    assert run("sessions", "search", "nothing", "like", "that").rows == []
    hits = run("sessions", "search", "the", "keys", "--json").json["hits"]
    assert {hit["session_id"] for hit in hits} == {"a"}


# --- export and import --------------------------------------------------------------------------------------------------


def test_a_session_moves_to_another_home(run: Run, tmp_path: Path) -> None:
    talk(run, "hello", session="a")
    ran = run("sessions", "export", "a")
    assert (ran.code, ran.out) == (0, "a.greenroom.zip\n")
    there = str(tmp_path / "other-home")
    ran = run("sessions", "import", "a.greenroom.zip", "--home", there)
    assert (ran.code, ran.out) == (0, "a\n")
    assert run("--home", there, "sessions", "show", "a").out.endswith("> hello\nYou said: hello\n")
    again = run("sessions", "import", "a.greenroom.zip", "--user", "ann", "--json").json["session_id"]
    assert again != "a", "the id is taken"
    assert run("sessions", "show", again, "--json").json["session"]["user_id"] == "ann"


def test_a_bundle_passes_through_a_pipe(run: Run, tmp_path: Path) -> None:
    talk(run, "hello", session="a")
    exported = subprocess.run(
        program("sessions", "export", "a", "-o", "-"), capture_output=True, check=True, timeout=50
    )
    ran = run_program("sessions", "import", "-", "--home", str(tmp_path / "other"), stdin=exported.stdout)
    assert (ran.code, ran.out) == (0, "a\n")


def test_an_export_does_not_replace_a_file_by_itself(run: Run) -> None:
    talk(run, "hello", session="a")
    Path("mine.zip").write_text("precious")
    ran = run("sessions", "export", "a", "-o", "mine.zip")
    assert (ran.code, Path("mine.zip").read_text()) == (2, "precious")
    assert ran.err.splitlines()[1] == "hint: --force replaces it, -o names another file"
    ran = run("sessions", "export", "a", "-o", "mine.zip", "--force", "--json")
    assert ran.json == {"session_id": "a", "file": "mine.zip", "bytes": Path("mine.zip").stat().st_size}
    assert zipfile.is_zipfile("mine.zip")


def test_an_export_is_whole_or_not_there(run: Run) -> None:
    talk(run, "hello", session="a")
    ran = run("sessions", "export", "a", "-o", "no/such/folder/a.zip")
    assert (ran.code, ran.err.splitlines()[0]) == (1, "error: a.zip cannot be written: No such file or directory")
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "error: bundle cannot be read: No such file"),
        (b"", "error: not a session bundle"),
        (b"PK\x03\x04", "error: not a"),
    ],
)
def test_what_is_no_bundle_is_refused(run: Run, content: bytes | None, message: str) -> None:
    if content is not None:
        Path("bundle").write_bytes(content)
    ran = run("sessions", "import", "bundle")
    assert ran.code == 1
    assert ran.err.startswith(message)
    assert ran.err.splitlines()[1].endswith("`greenroom sessions export` wrote")


# --- fork and delete ----------------------------------------------------------------------------------------------------


def test_a_fork_goes_its_own_way(run: Run) -> None:
    talk(run, "hello", "again", session="a")
    fork = run("sessions", "fork", "a").out.strip()
    talk(run, "only here", session=fork)
    assert "only here" in run("sessions", "show", fork).out
    assert "only here" not in run("sessions", "show", "a").out
    early = run("sessions", "fork", "a", "--at-seq", "1", "--json").json
    assert early["parent"] == "a"
    assert run("sessions", "show", early["session_id"], "--json").json["messages"] == []
    assert run("sessions", "fork", "a", "--at-seq", "1000").code == 2


def test_deleting_needs_a_yes(run: Run) -> None:
    talk(run, "hello", session="a")
    ran = run("sessions", "delete", "a")
    assert (ran.code, ran.err.splitlines()[1]) == (2, "hint: --yes deletes without asking")
    with terminal(program("sessions", "delete", "a")) as screen:
        screen.expect("a  1 turns  hello")
        screen.expect("Delete 1 session for good? [y/N]")
        screen.type("\r")
        screen.expect("nothing was deleted")
        assert screen.ends() == 1
    assert ids(run("sessions", "list").rows) == ["a"]
    with terminal(program("sessions", "delete", "a")) as screen:
        screen.expect("[y/N]")
        screen.type("y\r")
        assert screen.ends() == 0
    assert run("sessions", "list").rows == []


def test_many_are_deleted_at_once_or_none(run: Run) -> None:
    for session in "abc":
        talk(run, "hello", session=session)
    assert run("sessions", "delete", "--yes", "a", "nowhere").code == 1
    assert sorted(ids(run("sessions", "list").rows)) == ["a", "b", "c"]
    assert run("sessions", "delete", "--yes", "a", "b", "a").out == "a\nb\n"
    assert run("sessions", "delete", "--yes", "c", "--json").json == {"deleted": ["c"], "failed": []}
    assert run("sessions", "list").rows == []
