"""What only SQLite can do wrong: files, permissions, locks, damage, space, group commit."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from contract.stage import becomes
from greenroom.errors import Conflict, Corrupted, EventLogError, LogUnavailable, NewerFormat
from greenroom.limits import Limits
from greenroom.logs.sqlite import SqliteStore
from greenroom.logs.sqlite.word_eraser import TABLES, WordEraser
from greenroom.testing.log_conformance.samples import START_MS, Author, found, note, sessions_of, text


@asynccontextmanager
async def opened(path: Path, **options: object) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


async def refused(path: Path, kind: type[EventLogError], *words: str) -> EventLogError:
    """Expects that the store cannot be opened, with a message that says why and names no path."""
    store = SqliteStore(path)
    with pytest.raises(kind) as caught:
        await store.open()
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert str(path) not in str(caught.value)
    assert caught.value.hint
    assert store.node == ""
    await store.close()
    return caught.value


# --- the file -----------------------------------------------------------------------------------------------------------


async def test_missing_folders_are_made_and_everything_is_private(tmp_path: Path) -> None:
    path = tmp_path / "some" / "folder" / "a.db"
    async with opened(path) as store:
        await Author(store, "a").create(title="x")
        for file in path.parent.iterdir():
            mode = stat.S_IMODE(file.stat().st_mode)
            assert mode == (0o700 if file.is_dir() else 0o600), file.name
        assert {file.name for file in path.parent.iterdir()} == {"a.db", "a.db-wal", "a.db-shm", "a.db.nodes"}
        for folder in (tmp_path / "some", path.parent):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {file.name for file in path.parent.iterdir()} == {"a.db", "a.db.nodes"}
    assert not list(path.with_name("a.db.nodes").iterdir())


async def test_a_folder_that_was_there_keeps_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    async with opened(tmp_path / "a.db"):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


async def test_a_store_that_was_not_opened_touches_nothing(path: Path) -> None:
    threads = set(threading.enumerate())
    store = SqliteStore(path)
    with pytest.raises(LogUnavailable, match="not open"):
        await store.log.read("a")
    assert store.index.get_now("a") is None
    await store.close()
    assert not list(path.parent.iterdir())
    assert set(threading.enumerate()) <= threads


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def test_closing_lets_go_of_everything(path: Path) -> None:
    threads, files = set(threading.enumerate()), open_files()
    for _ in range(3):
        async with opened(path) as store:
            await Author(store, "a").append(text(), key="k")
            await store.index.search("x")
            store.index.get_now("a")
    for thread in set(threading.enumerate()) - threads:
        if thread.name.startswith("greenroom-"):
            thread.join(10)  # its last word was that everything is closed
            assert not thread.is_alive()
    assert open_files() == files


async def test_commits_are_flushed_to_the_disk(path: Path) -> None:
    async with opened(path) as store:
        for setting, value in (("synchronous", 2), ("journal_mode", "wal"), ("secure_delete", 1)):
            question = f"PRAGMA {setting}"
            assert await store._engine.glance(lambda c, q=question: c.execute(q).fetchone()) == (value,)


async def test_deleted_text_is_gone_from_the_file(path: Path) -> None:
    async with opened(path) as store:
        author = Author(store, "a")
        await author.create(title="x")
        await author.say(text("unforgettable secret"), texts=["unforgettable secret"])
        await store.notes.put("ann", note("k", "unforgettable note"), count_max=9)
        await store.log.delete("a")
        await store.notes.delete("ann", "memory", "k")
    assert b"unforgettable secret" not in path.read_bytes()
    assert b"unforgettable note" not in path.read_bytes()


async def test_what_is_deleted_is_soon_not_in_the_write_ahead_log_either(path: Path) -> None:
    """S17: a deleted text was in the idle write-ahead log until something else overwrote it, which may be never.

    A connection that reads keeps it from being emptied; it is tried again until nobody does.
    """
    wal = path.with_name("a.db-wal")
    async with opened(path) as store:
        author = Author(store, "a")
        await author.create()
        await author.say(text("an unforgettable secret"), texts=["an unforgettable secret"])
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM log").fetchone()
            await store.log.delete("a")
            assert wal.stat().st_size > 0
        await becomes(lambda: not wal.stat().st_size)
        assert b"unforgettable secret" not in path.read_bytes()
        another = Author(store, "b")
        await another.create()
        assert wal.stat().st_size > 0, "it is used again"


WORD = b"xyzzyplugh"
"""A word that nobody else says; FTS5 cuts off what it has in common with its neighbour: its last letters are looked for."""


def has_word(path: Path) -> bool:
    """Whether a rare word is anywhere in the files of the database."""
    files = [path, path.with_name(path.name + "-wal")]
    return any(WORD[4:] in file.read_bytes() for file in files if file.exists())


async def many(store: SqliteStore, count: int) -> None:
    """Sessions with words around the rare one, so that the index has several segments and pages."""
    for number in range(count):
        author = Author(store, f"s{number}")
        await author.create()
        said = " ".join(f"x{number * 31 + word:05d}y" for word in range(200))
        await author.say(text(said), texts=[said])


async def is_erased(path: Path) -> None:
    await becomes(lambda: not path.with_name(path.name + "-wal").stat().st_size and not has_word(path))


async def test_the_words_of_what_is_deleted_leave_the_index_too(path: Path) -> None:
    """S17: FTS5 keeps the words of a deleted session in its segments until they happen to be merged."""
    said = f"the {WORD.decode()} is secret"
    async with opened(path) as store:
        await many(store, 30)
        for name in ("first", "second"):
            author = Author(store, name)
            await author.create()
            await author.say(text(said), texts=[said])
            await many(store, 5)
        assert await store.log.delete("first")
        assert [hit.session_id for hit in await store.index.search(WORD.decode(), limit=9)] == ["second"]
        assert await store.log.delete("second")
        await is_erased(path)
        # Again, as the index is now: one segment; and a note, which has an index of its own.
        author = Author(store, "third")
        await author.create()
        await author.say(text(said), texts=[said])
        await store.notes.put("ann", note("k", said), count_max=9)
        await store.notes.delete("ann", "memory", "k")
        await store.log.delete("third")
        await is_erased(path)
        found_by = await store.index.search("x00031y", limit=9)
        assert [hit.session_id for hit in found_by] == ["s1", "s0"], "what others say is found as before"


async def test_the_words_are_gone_when_the_process_that_deleted_ends_at_once(path: Path) -> None:
    """S17's sibling: a command deletes and ends."""
    said = f"the {WORD.decode()} is secret"
    async with opened(path) as store:
        await many(store, 20)
        author = Author(store, "a")
        await author.create()
        await author.say(text(said), texts=[said])
        await many(store, 5)
    async with opened(path) as store:
        assert await store.log.delete("a")
    assert not has_word(path)


def test_taking_words_out_has_a_share_of_the_time_and_survives_failures() -> None:
    """A merge rewrites the index: deletions one after the other must not mean that nothing else is done."""
    now_s, tick_s = 0.0, 1.0

    def clock() -> float:
        nonlocal now_s
        now_s += tick_s
        return now_s

    eraser = WordEraser(clock)
    assert eraser.wait_s is None
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        eraser.want()
        assert not eraser.step(connection), "there are no such tables yet: a failure"
        assert eraser.wait_s is not None
        assert 50 < eraser.wait_s < 61
        for table in TABLES:
            connection.execute(f"CREATE VIRTUAL TABLE {table} USING fts5 (owner, words, content = '')")
        now_s += 60
        assert eraser.step(connection)
        tick_s = 0.25
        assert eraser.wait_s == 0.75, "other processes may write for as long as the step took"
        assert not eraser.step(connection)
        tick_s = 1.0
        assert eraser.step(connection)
        assert eraser.wait_s is None
        eraser.want()
        assert eraser.wait_s is not None
        assert 10 < eraser.wait_s <= 20, "two seconds of work are followed by twenty without"
        assert not eraser.step(connection)
        tick_s = 0.1
        eraser.finish(connection)
        assert eraser.wait_s is None, "at the end it is done at once"


async def test_a_row_can_be_had_from_a_store_that_is_not_open(path: Path) -> None:
    store = SqliteStore(path)
    assert store.index.get_now("a") is None
    path.touch()
    assert store.index.get_now("a") is None
    author = Author(store, "a")
    await store.open()
    await author.create(title="x")
    await store.close()
    assert store.index.get_now("a") == author.summary
    assert not path.with_name("a.db-wal").exists()
    path.write_bytes(b"not a database, but longer than its header would be " * 10)
    with pytest.raises(Corrupted):
        store.index.get_now("a")
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(LogUnavailable, match="another program"):
        store.index.get_now("a")


# --- where there can be no store ----------------------------------------------------------------------------------------


async def test_a_path_that_is_a_folder(tmp_path: Path) -> None:
    error = await refused(tmp_path, LogUnavailable, "folder")
    assert str(tmp_path) in "".join(error.__notes__)  # for the operator, who reads the log


async def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    await refused(tmp_path / "file" / "a.db", LogUnavailable, "its folder is a file")


async def test_opening_again_after_the_cause_is_gone(path: Path) -> None:
    path.mkdir()
    store = SqliteStore(path)
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            await store.open()
    path.rmdir()
    await asyncio.gather(store.open(), store.open(), store.open())
    await Author(store, "a").append(text())
    await store.close()


@contextmanager
def unprivileged_folder() -> Iterator[Path]:
    """A folder, and while the block runs no right to override its permissions."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        user = os.geteuid()
        inner = folder / "inner"
        inner.mkdir()
        if user == 0:
            os.chown(inner, 65534, 65534)
            os.seteuid(65534)
        try:
            yield inner
        finally:
            os.seteuid(user)


async def test_a_folder_that_cannot_be_written() -> None:
    with unprivileged_folder() as folder:
        folder.chmod(0o555)
        await refused(folder / "a.db", LogUnavailable, "Permission denied", "writable")
        await refused(folder / "new" / "a.db", LogUnavailable, "Permission denied")
        folder.chmod(0o755)


async def test_a_file_that_cannot_be_written() -> None:
    with unprivileged_folder() as folder:
        async with opened(folder / "a.db"):
            pass
        (folder / "a.db").chmod(0o444)
        await refused(folder / "a.db", LogUnavailable, "Permission denied")


async def test_a_database_of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    await refused(path, LogUnavailable, "another program")
    assert path.read_bytes() == before


# --- locks --------------------------------------------------------------------------------------------------------------


async def test_a_lock_that_is_held_too_long(path: Path) -> None:
    async with opened(path, busy_timeout_s=0.05) as store:
        author = Author(store, "a")
        await author.append(text("1"))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogUnavailable, match="another process holds the database locked"):
                await author.append(text("2"))
            assert len(await store.log.read("a")) == 1  # reading goes on
            connection.execute("COMMIT")
        await author.append(text("2"))


async def test_a_lock_that_is_held_for_a_moment_is_waited_for(path: Path) -> None:
    async with opened(path, busy_timeout_s=30) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            waiting = asyncio.ensure_future(Author(store, "a").append(text()))
            await store.index.page()
            assert not waiting.done()
            connection.execute("COMMIT")
        await waiting


# --- damage -------------------------------------------------------------------------------------------------------------


async def filled(path: Path, sessions: int = 50) -> None:
    async with opened(path) as store:
        for number in range(sessions):
            author = Author(store, f"s{number}")
            await author.create(title=f"title {number}")
            await author.say(text("body " * 200), texts=[f"text {number}"])


async def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"not a database, but longer than its header would be " * 10)
    await refused(path, Corrupted, "damaged", "backup")


async def test_a_file_cut_short(path: Path) -> None:
    await filled(path)
    os.truncate(path, path.stat().st_size // 2)
    await refused(path, Corrupted, "damaged")


async def test_damaged_pages_never_pass_for_data(path: Path) -> None:
    await filled(path)
    size = path.stat().st_size
    whole = path.read_bytes()
    seen: set[type[Exception]] = set()
    for page in range(1, size // 4096):
        path.write_bytes(whole[: page * 4096] + b"\xa5" * 4096 + whole[(page + 1) * 4096 :])
        store = SqliteStore(path)
        try:
            await store.open()
            for number in range(0, 50, 7):
                records = await store.log.read(f"s{number}")
                assert not records or records[1].event == text("body " * 200)
            await store.index.page()
            await found(store, "text")
        except EventLogError as error:
            seen.add(type(error))
        finally:
            await store.close()
    assert Corrupted in seen
    assert seen <= {Corrupted, LogUnavailable}


@contextmanager
def vandal(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that may do what the schema forbids."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER record_is_immutable")
        connection.execute("DROP TRIGGER record_follows_its_predecessor")
        yield connection


@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        ("UPDATE record SET body = x'7b22' WHERE log_id = 2 AND seq = 2", Corrupted, "record 2 of session 's1'"),
        ("UPDATE record SET body = x'ff0a00' WHERE log_id = 2 AND seq = 1", Corrupted, "record 1 of session 's1'"),
        ("UPDATE record SET body = x'' WHERE log_id = 2 AND seq = 2", Corrupted, "record 2"),
        ("DELETE FROM record WHERE log_id = 2 AND seq = 1", Corrupted, "record 1 of session 's1' is missing"),
        (
            'UPDATE record SET body = CAST(\'{"type":"session_levitated"}\' AS BLOB) WHERE log_id = 2 AND seq = 2',
            NewerFormat,
            "record 2 of session 's1': unknown event",
        ),
    ],
)
async def test_a_damaged_record_is_named_and_hurts_one_session(
    path: Path, damage: str, kind: type[EventLogError], words: str
) -> None:
    await filled(path, 3)
    with vandal(path) as connection:
        assert connection.execute(damage).rowcount == 1
    async with opened(path) as store:
        with pytest.raises(kind, match=words):
            await store.log.read("s1")
        assert len(await store.log.read("s0")) == len(await store.log.read("s2")) == 2
        assert len(await sessions_of(store)) == 3
        await store.log.delete("s1")
        assert not await store.log.read("s1")


async def test_a_damaged_row_is_told(path: Path) -> None:
    await filled(path, 2)
    with vandal(path) as connection:
        connection.execute("UPDATE session SET summary = x'7b7d' WHERE log_id = 1")
    async with opened(path) as store:
        with pytest.raises(Corrupted, match="index row"):
            await store.index.get("s0")
        with pytest.raises(Corrupted, match="index row"):
            await store.index.page()
        assert await store.index.get("s1") is not None


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO record (place, epoch, at_ms, body) VALUES ((1 << 31) + 4, 1, 0, x'')",  # leaves a gap
        "INSERT INTO record (place, epoch, at_ms, body) VALUES ((1 << 31) + 3, 0, 0, x'')",  # an older epoch
        "INSERT INTO record (place, epoch, at_ms, body) VALUES ((1 << 31) + 2, 1, 0, x'')",  # taken
        "INSERT INTO record (place, epoch, at_ms, body) VALUES ((9 << 31) + 1, 1, 0, x'')",  # of no log
        "UPDATE record SET body = x'' WHERE seq = 1",
    ],
)
async def test_the_file_itself_holds_the_promises_of_the_log(path: Path, statement: str) -> None:
    await filled(path, 1)
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)


# --- space --------------------------------------------------------------------------------------------------------------


async def test_a_second_store_leaves_the_locks_of_the_first_alone(path: Path) -> None:
    # Closing any descriptor of a file frees the locks of the whole process on it: so nobody may open the database but SQLite.
    async with opened(path) as store:
        await Author(store, "a").append(text())
        async with opened(path):
            assert store.index.get_now("a") is None
        SqliteStore(path).index.get_now("a")
        code = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0); "
            "c.execute('PRAGMA locking_mode = EXCLUSIVE'); c.execute('PRAGMA journal_mode = DELETE')"
        )
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
        assert "database is locked" in done.stderr, "another process could take the file from under us"


async def test_no_space_fails_cleanly_and_ends_with_space(path: Path) -> None:
    async with opened(path) as store:
        author = Author(store, "a")
        await author.create()

        async def limit(pages: int) -> None:
            await store._engine.glance(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}"))

        await limit(60)

        async def fill() -> None:
            for number in range(1, 100):
                await author.say(text("x" * 5000), texts=[f"word{number}"])

        with pytest.raises(LogUnavailable, match="no space"):
            await fill()
        assert 1 < author.seq < 100
        assert len(await store.log.read("a")) == author.seq
        assert await found(store, f"word{author.seq} ") == []  # the texts went with the record
        with pytest.raises(LogUnavailable):
            await Author(store, "b").append(text("x" * 50_000))
        await limit(10_000)
        last_seq = await author.say(text("space again"), texts=["space again"])
        assert len(await store.log.read("a")) == last_seq


async def test_the_write_ahead_log_stays_small(path: Path) -> None:
    async with opened(path) as store:
        authors = [Author(store, f"s{number}") for number in range(20)]

        async def write(author: Author) -> None:
            for _ in range(100):
                await author.append(text("x" * 10_000))

        await asyncio.gather(*map(write, authors))
        assert path.with_name("a.db-wal").stat().st_size < 20_000_000
        assert path.stat().st_size > 15_000_000


# --- group commit -------------------------------------------------------------------------------------------------------


async def commits(store: SqliteStore, act: Callable[[], asyncio.Future[object]]) -> int:
    """Returns how many transactions `act` took."""
    seen: list[str] = []
    await store._engine.glance(lambda connection: connection.set_trace_callback(seen.append))
    await act()
    await store._engine.glance(lambda connection: connection.set_trace_callback(None))
    return seen.count("COMMIT")


async def test_writers_that_wait_share_a_commit(path: Path) -> None:
    async with opened(path) as store:
        authors = [Author(store, f"s{number}") for number in range(100)]
        count = await commits(store, lambda: asyncio.gather(*(author.create() for author in authors)))
        assert count < 20


@asynccontextmanager
async def held_writer(store: SqliteStore) -> AsyncIterator[None]:
    """Keeps the writer busy, so that what is asked for inside becomes one transaction."""
    release = threading.Event()
    holding = asyncio.ensure_future(store._engine.glance(lambda _: release.wait(30)))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        release.set()
        await holding


async def test_appends_of_one_session_follow_each_other_in_one_transaction(path: Path) -> None:
    async with opened(path) as store:
        author = Author(store, "a")
        await author.create(title="first")
        writing = []
        async with held_writer(store):
            for step in (
                {"texts": ["found and lost"], "title": "first"},
                {"texts": ["lost too"], "title": "second"},
                {"forget": range(2, 9), "title": "third"},
                {"texts": ["kept"], "title": "third", "user_id": "bob"},
            ):
                writing.append(asyncio.ensure_future(author.say(text(), **step)))
                await asyncio.sleep(0)
                author.seq += 1
            repeated = asyncio.ensure_future(
                store.log.append("a", [text()], expected_seq=2, epoch=1, at_ms=START_MS, key="author-1-2")
            )
            stale = asyncio.ensure_future(Author(store, "a", name="stale").append(text()))
            await asyncio.sleep(0)
        assert await asyncio.gather(*writing) == [2, 3, 4, 5]
        assert [record.seq for record in await repeated] == [3]
        with pytest.raises(Conflict) as conflict:
            await stale
        assert conflict.value.actual_seq == 5
        assert [record.seq for record in await store.log.read("a")] == [1, 2, 3, 4, 5]
        for query in ("lost", "first", "second"):
            assert await found(store, query) == [], query
        assert await found(store, "third", user_id="bob") == [("a", 0)]
        assert await found(store, "kept", user_id="bob") == [("a", 5)]
        assert await found(store, "kept", user_id="ann") == []


async def test_what_only_reads_cannot_write(path: Path) -> None:
    """Case W18: reading connections that could write were noticed by no test."""
    async with opened(path) as store:
        await Author(store, "a").create()
        with pytest.raises(EventLogError, match="cannot be written"):
            await store._engine.read(lambda connection: connection.execute("DELETE FROM log").fetchall())
        assert await sessions_of(store) == ["a"]


async def test_deleting_leaves_nothing_behind(path: Path) -> None:
    async with opened(path) as store:
        author = Author(store, "a")
        await author.create(title="Grüße 東京")
        await store.inbox.post("a", b"item")
        await author.say(texts=["some words", "more of them"])
        await author.say(forget=[2], texts=["others"])
        await store.notes.put("ann", note("k", "noted"), count_max=9)
        await store.notes.delete("ann", "memory", "k")
        await store.log.delete("a")
        for table in ("log", "record", "session", "text", "text_word", "inbox", "note"):
            question = f"SELECT * FROM {table}"
            assert await store._engine.read(lambda c, q=question: c.execute(q).fetchall()) == [], table


def explode(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO inbox (log_id, body) VALUES (1, x'ff')")
    raise RuntimeError("a bug")


async def test_a_bug_in_one_operation_does_not_spoil_the_others(path: Path) -> None:
    async with opened(path) as store:
        await Author(store, "a").create()
        good = [Author(store, f"s{number}").create(title="good") for number in range(20)]
        bad = [store._engine.write(explode), Author(store, "a").append(text(), key="late")]
        outcomes = await asyncio.gather(*good[:10], *bad, *good[10:], return_exceptions=True)
        assert [type(outcome) for outcome in outcomes if outcome is not None] == [RuntimeError, Conflict]
        assert len(await found(store, "good")) == 20
        assert not await store.inbox.pending("a")


async def test_a_value_that_sqlite_cannot_hold_fails_alone(path: Path) -> None:
    async with opened(path) as store:

        async def append(number: int) -> None:
            at_ms = 2**63 if number == 5 else START_MS
            await store.log.append(f"s{number}", [text()], expected_seq=0, epoch=1, at_ms=at_ms, key="k")

        outcomes = await asyncio.gather(*map(append, range(10)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes if outcome is not None] == [OverflowError]
        assert [len(await store.log.read(f"s{number}")) for number in range(10)] == [1] * 5 + [0] + [1] * 4


def test_a_store_outlives_the_loop_of_its_callers(path: Path) -> None:
    store = SqliteStore(path)

    async def leave_in_the_middle() -> None:
        await store.open()
        for number in range(20):
            asyncio.ensure_future(Author(store, f"s{number}").create())  # noqa: RUF006 - left behind
        await asyncio.sleep(0)

    async def go_on() -> int:
        await store.open()
        await Author(store, "last").create()
        count = len(await sessions_of(store, limit=100))
        await store.close()
        return count

    asyncio.run(leave_in_the_middle())
    assert asyncio.run(go_on()) in range(1, 22)


async def test_a_store_that_is_being_opened_is_not_open(path: Path) -> None:
    store = SqliteStore(path, busy_timeout_s=30)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        opening = asyncio.ensure_future(store.open())
        await asyncio.sleep(0)
        with pytest.raises(LogUnavailable, match="not open"):
            await store.log.read("a")
        connection.execute("COMMIT")
    await opening
    assert not await store.log.read("a")
    await store.close()


async def test_a_cancelled_opening_leaves_the_store_to_the_others(path: Path) -> None:
    async with opened(path) as store:
        async with held_writer(store):
            again = asyncio.ensure_future(store.open())
            await asyncio.sleep(0)
            again.cancel()
        await Author(store, "a").append(text())
        assert len(await store.log.read("a")) == 1


async def test_a_question_that_fails_does_not_fail_what_was_written(path: Path) -> None:
    async with opened(path) as store:
        async with held_writer(store):
            bad = [
                asyncio.ensure_future(store._engine.glance(lambda connection: connection.execute("no SQL"))),
                asyncio.ensure_future(store._engine.glance(lambda _: 1 // 0)),
            ]
            good = asyncio.ensure_future(Author(store, "a").append(text()))
            await asyncio.sleep(0)
        assert len(await good) == 1
        assert [type(error) for error in await asyncio.gather(*bad, return_exceptions=True)] == [
            LogUnavailable,
            ZeroDivisionError,
        ]


async def test_a_cancelled_closing_closes(path: Path) -> None:
    before = set(threading.enumerate())  # other tests of this process may have left a store open
    store = SqliteStore(path)
    await store.open()
    await store.log.read("a")
    await store.index.search("x")
    node, threads = store.node, set(threading.enumerate()) - before
    assert threads
    async with held_writer(store):
        closing_ = asyncio.ensure_future(store.close())
        await asyncio.sleep(0)
        closing_.cancel()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    async with opened(path) as other:
        assert not await other.is_alive(node)


async def test_closing_finishes_what_was_asked_for(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    writing = [asyncio.ensure_future(Author(store, f"s{number}").create()) for number in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    assert await asyncio.gather(*writing, return_exceptions=True) == [None] * 50
    async with opened(path) as again:
        assert len(await sessions_of(again, limit=100)) == 50


# --- search at size -----------------------------------------------------------------------------------------------------


async def test_a_frequent_word_is_looked_for_in_the_latest_texts(path: Path) -> None:
    async with opened(path, limits=Limits(search_texts_max=10)) as store:
        for number in range(30):
            author = Author(store, f"s{number}")
            await author.create(updated_at_ms=START_MS + number)
            await author.say(texts=[f"common rare{number}"], updated_at_ms=START_MS + number)
        assert await sessions_of(store, query="common ") == [f"s{number}" for number in range(29, 19, -1)]
        assert await sessions_of(store, query="rare3 ") == ["s3"]
        assert await found(store, "common rare3 ") == [("s3", 2)]


async def test_other_users_texts_do_not_crowd_out_the_own(path: Path) -> None:
    async with opened(path, limits=Limits(search_texts_max=10)) as store:
        await Author(store, "old", user_id="ann").create(title="common words")
        for number in range(30):
            await Author(store, f"s{number}", user_id="bob").create(title="common words")
        assert await sessions_of(store, query="common", user_id="ann") == ["old"]
        assert await found(store, "common", user_id="ann") == [("old", 0)]


async def test_only_the_beginning_of_a_text_is_indexed(path: Path) -> None:
    async with opened(path, limits=Limits(search_text_chars_max=20)) as store:
        author = Author(store, "a")
        await author.create()
        await author.say(texts=["early words and much much later ones"])
        assert await found(store, "early") == [("a", 2)]
        assert await found(store, "later") == []
        await author.say(forget=[2])
        assert await found(store, "early") == []
