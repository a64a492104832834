"""From an empty file, and from every older version, to the present one."""

from __future__ import annotations

import gzip
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from greenroom.codec import decode_record
from greenroom.errors import LogUnavailable, NewerFormat
from greenroom.interfaces import Spent
from greenroom.logs.sqlite import SqliteStore, statements
from greenroom.logs.sqlite.schema import APPLICATION_ID, Migration, check, migrate, migrations
from greenroom.testing.log_conformance.logging_in import code, login
from greenroom.testing.log_conformance.samples import Author, found, note, sessions_of, text
from greenroom.testing.log_conformance.spending import STEP

GOLDEN = Path(__file__).parent.parent / "golden"
PACKAGE = Path(statements.__file__).parent


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        yield connection


def tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_migrations_are_numbered_without_gaps() -> None:
    assert [step.version for step in migrations()] == list(range(1, len(migrations()) + 1))


def test_an_empty_file_becomes_a_database(connection: sqlite3.Connection) -> None:
    assert check(connection, migrations()) == 0
    migrate(connection, migrations())
    assert check(connection, migrations()) == version(connection) == len(migrations())
    assert {"log", "record", "session", "text", "inbox", "note"} <= tables(connection)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    migrate(connection, migrations())


STEPS = (
    Migration(1, "CREATE TABLE one (x);\n-- a comment; with a semicolon\nINSERT INTO one VALUES (';');\n"),
    Migration(2, "ALTER TABLE one ADD COLUMN y;\nUPDATE one SET y = 2;\n"),
    Migration(
        3, "CREATE TRIGGER t AFTER INSERT ON one\nBEGIN\n  SELECT 1;\n  SELECT 2;\nEND;\nCREATE TABLE three (x);"
    ),
)


def test_steps_are_taken_once_and_in_order(connection: sqlite3.Connection) -> None:
    migrate(connection, STEPS[:1])
    assert version(connection) == 1
    migrate(connection, STEPS)
    assert version(connection) == 3
    assert connection.execute("SELECT * FROM one").fetchall() == [(";", 2)]
    assert tables(connection) == {"one", "three"}


def test_a_step_that_fails_leaves_no_trace(connection: sqlite3.Connection) -> None:
    broken = (*STEPS[:1], Migration(2, "CREATE TABLE two (x);\nINSERT INTO nothing VALUES (1);\n"))
    with pytest.raises(sqlite3.OperationalError, match="nothing"):
        migrate(connection, broken)
    assert version(connection) == 1
    assert tables(connection) == {"one"}
    migrate(connection, STEPS)
    assert version(connection) == 3


def test_a_step_that_another_process_took_is_not_repeated(tmp_path: Path, connection: sqlite3.Connection) -> None:
    class Slow(tuple[Migration, ...]):
        """Lets the other process be quicker, just before our second step."""

        __slots__ = ()

        def __iter__(self) -> Iterator[Migration]:
            yield STEPS[0]
            with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
                migrate(other, STEPS)
            yield from STEPS[1:]

    migrate(connection, Slow())
    assert version(connection) == 3


async def test_a_newer_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = SqliteStore(path)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(migrations()) + 1}")
    before = path.read_bytes()
    with pytest.raises(NewerFormat, match=r"version \d+.*upgrade"):
        await store.open()
    with pytest.raises(NewerFormat):
        store.index.get_now("a")
    await store.close()
    assert path.read_bytes() == before


def test_a_database_with_another_id_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, STEPS)
    connection.execute("PRAGMA application_id = 1")
    with pytest.raises(LogUnavailable, match="another program"):
        check(connection, migrations())


@pytest.mark.parametrize("number", range(1, len(migrations()) + 1))
async def test_a_database_of_every_version_is_read_and_written(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(gzip.decompress((GOLDEN / f"sqlite-{number}.db.gz").read_bytes()))
    store = SqliteStore(path)
    await store.open()
    records = await store.log.read("every-event")
    # The log of the same name was written from the same events, in the same order.
    written = (GOLDEN / "format-1.jsonl").read_bytes().splitlines()[: len(records)]
    assert [record.event for record in records] == [decode_record(line).event for line in written]
    assert [record.seq for record in await store.log.read("talk")] == [1, 2, 3]
    row = await store.index.get("talk")
    assert row is not None
    assert (row.labels.title, row.user_id, row.turn_count, row.open_turn) == ("Grüße aus 東京", "ann", 1, True)
    assert await sessions_of(store, user_id="ann") == ["talk"]
    assert await found(store, "gruße 東京") == [("talk", 0)]
    assert await found(store, "lazy do", user_id="ann") == [("talk", 3)]
    assert [item.body for item in await store.inbox.pending("talk")] == [b'{"cancel":true}']
    assert await store.notes.get("ann", "preference", "lang") == note("lang", "de", kind="preference")
    assert len(await store.notes.search("ann", "memory", "rex", limit=9)) == 1
    assert await store.ledger.spent("bob") == (Spent(usage=STEP) if number > 1 else Spent())
    estimated = Spent(usage=msgspec.structs.replace(STEP, estimated=True), estimated_tokens=30)
    assert await store.ledger.spent("zoe") == (estimated if number > 3 else Spent())
    kept = [login("a", user_agent="Grüße")] if number > 2 else []
    assert list(await store.logins.page("ann", limit=9)) == kept
    assert await store.logins.take_code(code("x").digest, now_ms=0) == (code("x") if number > 2 else None)
    await store.logins.add(login("new"), count_max=9, seen_after_ms=0)
    assert await store.logins.find(login("new").digest) == login("new")

    author = Author(store, "talk")
    author.seq, author.epoch, author.summary = 3, 2, row
    await author.append(text("and on"))
    await author.say(texts=["renamed"], title="new", forget=[3])
    assert await found(store, "gruße") == await found(store, "lazy") == []
    assert await found(store, "new") == [("talk", 0)]
    await store.log.delete("every-event")
    await store.log.delete("talk")
    assert await sessions_of(store) == []
    assert await found(store, "fox") == []
    await store.close()


async def test_a_damaged_row_does_not_keep_an_older_database_from_being_opened(tmp_path: Path) -> None:
    """The step to version 5 reads the owners of open sessions out of their rows. What such a session is, its log says."""
    path = tmp_path / "a.db"
    path.write_bytes(gzip.decompress((GOLDEN / "sqlite-4.db.gz").read_bytes()))
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("UPDATE session SET summary = ? WHERE is_open", (b"{",)).rowcount
    store = SqliteStore(path)
    await store.open()
    assert "talk" in await store.index.orphaned(limit=9)
    await store.close()


# --- statements ---------------------------------------------------------------------------------------------------------


def test_every_statement_is_found_and_used() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.glob("*.py"))
    used = set(re.findall(r'"(\w+)"', code))
    for path in sorted((PACKAGE / "sql").glob("*.sql")):
        named = statements.load(path.stem)
        assert named
        assert set(named) <= used, f"{path.name}: {sorted(set(named) - used)} are not used"
        for name, statement in named.items():
            assert statement.endswith(";"), f"{path.name}: {name}"


def test_every_statement_fits_the_schema(connection: sqlite3.Connection) -> None:
    migrate(connection, migrations())
    for path in (PACKAGE / "sql").glob("*.sql"):
        for name, statement in statements.load(path.stem).items():
            values = dict.fromkeys(re.findall(r":(\w+)", statement)) or [None] * statement.count("?")
            assert connection.execute(f"EXPLAIN {statement}", values).fetchall(), f"{path.name}: {name}"


def test_rows_are_inserted_in_powers_of_two(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE numbers (id INTEGER PRIMARY KEY AUTOINCREMENT, x)")
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    numbers = statements.insert_rows(connection, "INSERT INTO numbers (x) VALUES (?)", [(x,) for x in range(300)])
    assert numbers == list(range(1, 301))
    assert len(seen) == 5  # 128 + 128 + 32 + 8 + 4
    assert connection.execute("SELECT x FROM numbers ORDER BY id").fetchall() == [(x,) for x in range(300)]
    assert statements.insert_rows(connection, "INSERT INTO numbers (x) VALUES (?)", []) == []
