"""A result for people: the tables in Markdown, and the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from benchmarks.result import GOALS, Result, caller, total
from benchmarks.variants import FLOOR, VARIANTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.pairing import Spread

__all__ = ["TITLE", "aligned", "bars", "compared", "heading", "markdown", "short"]


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is aligned in a terminal too; all columns but the first to the right."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        return (
            "| "
            + " | ".join([first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
            + " |"
        )

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:])]) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def heading(result: Result) -> str:
    """What was run on what, in a sentence."""
    m = result.machine
    many = f"{len(result.rounds)} interleaved rounds of up to {result.events:,} events"
    return (
        f"{many}, values of {result.value_bytes:.0f} bytes on average, to {result.broker}; "
        f"Python {m.get('python')}, confluent-kafka {m.get('confluent_kafka')}, "
        f"librdkafka {m.get('librdkafka')}, {m.get('cores')} cores of {m.get('processor')}, "
        f"load average before {m.get('load_average', 0.0):.1f}."
    )


def _of(spread: Spread | None, digits: int = 2) -> str:
    if spread is None:
        return "-"
    return f"{spread.median:.{digits}f} ({spread.lower:.{digits}f} to {spread.upper:.{digits}f})"


def markdown(result: Result) -> str:
    """The variants, then the goals, then what is missing."""
    rows = [
        [
            VARIANTS[name].title,
            f"{result.spread(name, total).median:.1f}",
            _of(result.ratio(name, FLOOR)),
            f"{result.spread(name, caller).median:.1f}",
            _of(result.ratio(name, FLOOR, caller)),
            f"{result.spread(name, lambda run: run.per_s).median:,.0f}",
            f"{result.spread(name, lambda run: run.peak_mib).median:.0f}",
            f"{result.spread(name, lambda run: run.added_mib).median:.0f}",
        ]
        for name in VARIANTS
        if name in result.names
    ]
    head = ["", "CPU µs", "x floor", "caller's µs", "x floor", "events/s", "peak MiB", "added MiB"]
    parts = [heading(result), aligned(head, rows)]
    if goals := _goals(result):
        parts.append(aligned(["ratio", "measured", "gate", "aim", ""], goals))
    parts += [
        f"Not measured: {VARIANTS[name].title}: {why} is not installed."
        for name, why in result.missing.items()
    ]
    return "\n\n".join(parts) + "\n"


def short(result: Result) -> str:
    """The variants beside the floor, with a sentence on what was run."""
    rows = [
        [VARIANTS[name].title, _of(result.ratio(name, FLOOR), 1), _of(result.ratio(name, FLOOR, caller), 1)]
        for name in VARIANTS
        if name in result.names
    ]
    return f"{aligned(['', 'whole CPU / floor', 'caller CPU / floor'], rows)}\n\n{heading(result)}\n"


def _goals(result: Result) -> list[list[str]]:
    rows = []
    for goal in GOALS:
        ratio = result.ratio(goal.of, goal.to, goal.value)
        if ratio is None:
            continue
        sign = "≥" if goal.at_least else "≤"
        said = (
            "aim"
            if goal.met(ratio.median, goal.aim)
            else "gate"
            if goal.met(ratio.median, goal.gate)
            else "no"
        )
        rows.append([goal.title, _of(ratio), f"{sign} {goal.gate:g}", f"{sign} {goal.aim:g}", said])
    return rows


def compared(now: Result, then: Result) -> str:
    """The ratios to the floor of two results, and how one is to the other; machines cancel out, mostly."""
    rows = []
    for name in VARIANTS:
        if name == FLOOR or name not in now.names or name not in then.names:
            continue
        new, old = now.ratio(name, FLOOR), then.ratio(name, FLOOR)
        if new is None or old is None:
            continue
        clear = "" if new.lower <= old.upper and old.lower <= new.upper else "quartiles apart"
        rows.append([VARIANTS[name].title, _of(old), _of(new), f"{new.median / old.median:.2f}", clear])
    if not rows:
        return "The two results have no variant in common that could be compared: both need the floor.\n"
    return aligned(["x floor", "then", "now", "now / then", ""], rows) + "\n"


# -- the picture ------------------------------------------------------------------------------------------

_ROW, _LEFT, _WIDTH, _TOP, _RIGHT = 30, 350, 860, 60, 70
TITLE = "CPU of an event from emit to acknowledgement, as a multiple of the floor's"
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 12px; fill: #59636e }
.head { font-size: 16px; font-weight: 600 }
.ours { fill: #1a7f64 } .peer { fill: #8c959f } .floor { fill: #57606a }
line { stroke: #1f2328; stroke-width: 1.5 } .grid { stroke: #d1d9e0; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 }
  .ours { fill: #3fb68b } .peer { fill: #6e7681 } .floor { fill: #9198a1 }
  line { stroke: #e6edf3 } .grid { stroke: #3d444d }
}
"""


def bars(result: Result) -> str:
    """An SVG: CPU of an event as a multiple of the floor's, with the quartiles of the rounds; cheapest first.

    Without a background, and with colours for light and dark pages (``prefers-color-scheme``).
    """
    found = {name: ratio for name in result.names if (ratio := result.ratio(name, FLOOR))}
    order = sorted(found, key=lambda name: found[name].median)
    longest = max(ratio.upper for ratio in found.values())
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    bottom = _TOP + _ROW * len(order)
    height = bottom + 40
    size = f'width="{_WIDTH}" height="{height}"'
    role = 'role="img" aria-labelledby="title"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {size} {role}>',
        f'<title id="title">{TITLE}</title>',
        f"<style>{_STYLE}</style>",
        '<text class="head" x="10" y="24">CPU of an event, from emit to acknowledgement (floor = 1)</text>',
    ]
    step = max(1, round(longest / 8))
    for tick in range(0, int(longest) + 1, step):
        x = _LEFT + tick * scale
        out.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 12}" x2="{x:.1f}" y2="{bottom}"/>')
        out.append(f'<text class="small" x="{x:.1f}" y="{_TOP - 16}" text-anchor="middle">{tick}</text>')
    for number, name in enumerate(order):
        ratio, y = found[name], _TOP + _ROW * number
        width = ratio.median * scale
        kind = "floor" if name == FLOOR else "ours" if VARIANTS[name].ours else "peer"
        middle, end = y + 9, _LEFT + ratio.upper * scale
        out += [
            f'<text x="{_LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(VARIANTS[name].title)}</text>',
            f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{width:.1f}" height="18" rx="2"/>',
            f'<line x1="{_LEFT + ratio.lower * scale:.1f}" y1="{middle}" x2="{end:.1f}" y2="{middle}"/>',
            f'<text x="{end + 8:.1f}" y="{y + 14}">{ratio.median:.1f}</text>',
        ]
    rounds = len(result.rounds)
    out.append(
        f'<text class="small" x="10" y="{bottom + 26}">Median of {rounds} interleaved rounds; '
        "lines: quartiles. Printed by make bench.</text>"
    )
    return "\n".join([*out, "</svg>", ""])
