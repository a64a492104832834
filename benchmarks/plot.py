"""The three figures that matter most as a picture: bars on a logarithmic axis, one panel each, SVG without a library.

Rule: a pure function of the results; text stays text, and the picture can be read on a dark page too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from benchmarks import burst, paced
from benchmarks.report import number
from benchmarks.results import Results

_FONT: Final = 'font-family="system-ui, sans-serif" font-size="12"'
_WIDTH: Final = 860
_LABEL: Final = 230
_BAR: Final = 16
_STEP: Final = 22
_HEAD: Final = 46
_COLOURS: Final = {"floor": "#8a8f98", "ours": "#1f9d55", "": "#5b7db8"}


@dataclass(frozen=True)
class Panel:
    """One group of bars."""

    title: str
    unit: str
    bars: Sequence[tuple[str, float, str]]  # name, value, role

    @property
    def height(self) -> int:
        """What it takes."""
        return _HEAD + _STEP * len(self.bars)


def panels(results: Results) -> list[Panel]:
    """Returns what there is to draw."""
    found = []
    for title, unit, group, key in (
        ("One burst: CPU per chunk", "us", burst.OPENAI, None),
        ("200 sessions x 50 deltas a second: CPU per chunk", "us", paced.MANY_GROUP, None),
        ("200 sessions x 50 deltas a second: lateness, p99", "ms", paced.MANY_GROUP, "p99_ms"),
    ):
        rows = [row for row in results.rows if row.group == group and not row.failure and row.unit == "us"]
        bars = [(row.name, row.value if key is None else row.more[key], row.role) for row in rows]
        if bars:
            found.append(Panel(title, unit, bars))
    return found


def svg(results: Results) -> str:
    """Returns the picture."""
    drawn = panels(results)
    height = sum(panel.height for panel in drawn) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_FONT} role="img">',
        f"<title>Greenroom beside its peers, {escape(results.at)} UTC</title>",
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    top = 10
    for panel in drawn:
        parts += _drawn(panel, top)
        top += panel.height
    parts.append(
        f'<text x="16" y="{height - 10}" fill="#666">{escape(results.at)} UTC; logarithmic axes; shorter is better; '
        "grey: floor, green: Greenroom, blue: others</text>"
    )
    return "\n".join([*parts, "</svg>\n"])


def _drawn(panel: Panel, top: int) -> list[str]:
    values = [max(value, 0.01) for _, value, _ in panel.bars]
    low, high = math.floor(math.log10(min(values)) - 0.2), math.ceil(math.log10(max(values)))
    room = _WIDTH - _LABEL - 110

    def x(value: float) -> float:
        return _LABEL + room * (math.log10(value) - low) / max(1, high - low)

    bottom = top + panel.height - 10
    parts = [f'<text x="16" y="{top + 20}" font-size="14" font-weight="600" fill="#222">{escape(panel.title)}</text>']
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f'<line x1="{at:.0f}" x2="{at:.0f}" y1="{top + 34}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.0f}" y="{top + 32}" text-anchor="middle" fill="#888">{10.0**power:g}</text>')
    for index, ((name, value, role), drawn) in enumerate(zip(panel.bars, values, strict=True)):
        y = top + _HEAD - 6 + index * _STEP
        end = max(x(drawn), _LABEL + 2)
        weight = ' font-weight="600"' if role == "ours" else ""
        parts += [
            f'<text x="{_LABEL - 8}" y="{y + 12}" text-anchor="end" fill="#333"{weight}>{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{y}" width="{end - _LABEL:.1f}" height="{_BAR}" rx="3" fill="{_COLOURS[role]}"/>',
            f'<text x="{end + 6:.1f}" y="{y + 12}" fill="#333"{weight}>{number(value)} {panel.unit}</text>',
        ]
    return parts
