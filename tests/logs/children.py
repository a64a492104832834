"""Programs that tests of processes start, and kill: `python children.py NAME ARGUMENTS...`.

Rule: a child says what was acknowledged after it was acknowledged, unbuffered, one line each.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from greenroom.errors import Conflict, LogUnavailable
from greenroom.logs.sqlite import SqliteStore
from greenroom.testing.log_conformance.samples import START_MS, Author, text


def say(**words: object) -> None:
    """Tells the parent something, at once and whole."""
    os.write(1, json.dumps(words).encode() + b"\n")


async def append_for_ever(path: str, name: str) -> None:
    """Appends to some sessions of its own until it is killed."""
    store = SqliteStore(path)
    await store.open()

    async def write(session_id: str) -> None:
        author = Author(store, session_id)
        await author.create(title=f"title {session_id}")
        say(session=session_id, seq=author.seq)
        for number in range(10**9):
            await author.append(text(f"{number} " * (number % 50)), text("second"))
            say(session=session_id, seq=author.seq)
            await author.say(texts=[f"common word{number}"])
            say(session=session_id, seq=author.seq)

    async with asyncio.TaskGroup() as tasks:
        for number in range(3):
            tasks.create_task(write(f"{name}-{number}"))


async def compete(path: str, name: str, count: str) -> None:
    """Appends to sessions that others append to as well, at the place where it last saw their ends."""
    store = SqliteStore(path)
    await store.open()

    async def write(session_id: str) -> None:
        seq = 0
        for number in range(int(count)):
            key = f"{name}-{number}"
            while True:
                try:
                    records = await store.log.append(
                        session_id, [text(key)], expected_seq=seq, epoch=1, at_ms=START_MS, key=key
                    )
                except Conflict as conflict:
                    seq = conflict.actual_seq
                else:
                    seq = records[-1].seq
                    say(session=session_id, seq=seq, key=key)
                    break

    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(write(f"s{number}"))
    await store.close()


async def live(path: str) -> None:
    """Opens the store and stays."""
    store = SqliteStore(path)
    await store.open()
    say(node=store.node)
    await asyncio.Event().wait()


async def leave_it_open(path: str) -> None:
    """Writes, and ends without closing anything."""
    store = SqliteStore(path)
    await store.open()
    await Author(store, "a").create(title="kept")
    await store.index.search("kept")
    store.index.get_now("a")
    say(done=True)


async def fill_the_disk(path: str) -> None:
    """Writes until files may not grow any more; then they may again."""
    import resource

    store = SqliteStore(path)
    await store.open()
    author = Author(store, "a")
    await author.create()
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    failures = 0
    while failures < 3:
        try:
            await author.append(text("x" * 20_000))
        except LogUnavailable as error:
            failures += 1
            author.seq = len(await store.log.read("a"))  # read before repeating
            message = str(error)
    full_at = author.seq
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await author.append(text("space again"))
    say(full_at=full_at, seq=author.seq, message=message)
    await store.close()


async def fork(path: str) -> None:
    """Forks with an open store: the child is refused, the parent goes on, and its lock is its own."""
    store = SqliteStore(path)
    await store.open()
    author = Author(store, "a")
    await author.create()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        _use_in_child(store)
        os.read(read_end, 1)  # outlives the parent's store
        os._exit(0)
    await author.say(texts=["still here"])
    node = store.node
    await store.close()
    other = SqliteStore(path)
    await other.open()
    say(is_alive=await other.is_alive(node), seq=len(await other.log.read("a")))
    await other.close()
    os.close(write_end)
    os.waitpid(child, 0)  # noqa: ASYNC222 - the last act


async def fork_and_wait(path: str) -> None:
    """Forks with an open store, and waits; the child lives until nobody can write to its input any more."""
    store = SqliteStore(path)
    await store.open()
    if os.fork() == 0:
        os.read(0, 1)
        os._exit(0)
    say(node=store.node)
    await asyncio.Event().wait()


def _use_in_child(store: SqliteStore) -> None:
    refused = 0
    for use in (store.open, store.index.unfinished, lambda: store.log.read("a"), lambda: Author(store, "a").create()):
        coroutine = use()
        try:
            coroutine.send(None)
        except LogUnavailable:
            refused += 1
    try:
        store.index.get_now("a")
    except LogUnavailable:
        refused += 1
    say(refused=refused, of=5)


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
