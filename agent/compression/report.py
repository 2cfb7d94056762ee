"""What was tried, as rows, as JSON and as a page of its own. Nothing of it leaves the device by itself."""

from collections.abc import Sequence
from typing import Any

from edgeveil.agent.compression.variants import Optimized, Variant
from edgeveil.shared.pages.document import document
from edgeveil.shared.pages.markup import facts, section, table
from edgeveil.shared.pages.svg import Scale, drawing, frame, nice_ticks, number
from edgeveil.shared.pages.text import escape

HEADINGS = (
    "", "variant", ">gone", ">kB", ">zipped", ">p50 ms", ">p99 ms", ">MB", ">quality", "kept",
)  # fmt: skip
COSTS = "Nothing leaves this device: no budget is charged."


def sentence(found: Optimized) -> str:
    if found.kept is None:
        return "No variant is kept: the model stays as it came."
    kept, before = found.kept, found.before
    stays = " It tells of local records: it stays here." if kept.calibrated else ""
    return (
        f"Kept: {kept.name}, {kept.size / before.size:.2f} of the size and "
        f"{kept.latency.p50_ms / before.latency.p50_ms:.2f} of the time; {found.metric} "
        f"{before.quality:.2%} before, {kept.quality:.2%} now.{stays}"
    )


def rows(found: Optimized) -> list[tuple[str, ...]]:
    """As of HEADINGS: "gone" is the share of weights that pruning achieved, "MB" what graph and work add to memory."""
    return [_row(number, each, found) for number, each in enumerate(_all(found))]


def reasons(found: Optimized) -> list[str]:
    """A line for each variant that is not kept."""
    told = [
        f"{number} {each.name}: {'could be kept' if each.accepted else 'not kept'}: {each.verdict}"
        for number, each in enumerate(found.tried, 1)
        if each is not found.kept
    ]
    return told + [f"{name}: not made: {why}" for name, why in found.failed]


def _row(number: int, each: Variant, found: Optimized) -> tuple[str, ...]:
    speed = each.latency
    gone = "–" if each.achieved is None else f"{each.achieved:.0%}"
    kept = "yes" if each is found.kept or (each is found.before and found.kept is None) else ""
    return (
        str(number), each.name, gone, f"{each.size / 1e3:.1f}", f"{each.compressed / 1e3:.1f}",
        f"{speed.p50_ms:.3g}", f"{speed.p99_ms:.3g}", f"{speed.memory_bytes / 1e6:.1f}",
        f"{each.quality:.2%}", kept,
    )  # fmt: skip


def as_json(found: Optimized) -> dict[str, Any]:
    return {
        "model": found.package.digest,
        "metric": found.metric,
        "records": found.records,
        "before": _values(found.before),
        "tried": [{**_values(each), "accepted": each.accepted, "verdict": each.verdict} for each in found.tried],
        "failed": [{"variant": name, "why": why} for name, why in found.failed],
        "kept": None if found.kept is None else found.kept.name,
        "epsilon_charged": 0,
    }  # fmt: skip


def _values(each: Variant) -> dict[str, Any]:
    return {
        "variant": each.name,
        "pruned_asked": each.asked,
        "pruned_achieved": each.achieved,
        "bytes": each.size,
        "compressed_bytes": each.compressed,
        "p50_ms": each.latency.p50_ms,
        "p99_ms": each.latency.p99_ms,
        "cpu_p50_ms": each.latency.cpu_p50_ms,
        "peak_bytes": each.latency.peak_bytes,
        "memory_bytes": each.latency.memory_bytes,
        "quality": each.quality,
        "calibrated": each.calibrated,
    }


def page(found: Optimized, data: str) -> str:
    """One HTML file, in English."""
    about = {
        "model": found.package.digest,
        "task": f"{found.package.manifest.task.id} {found.package.manifest.task.version}",
        "data": data,
        "records": found.records,
        "quality": found.metric,
        "budget": COSTS,
    }
    shown = table(HEADINGS, rows(found), label="Variants")
    plots = _plot(found, "kB", [each.size / 1e3 for each in _all(found)])
    plots += _plot(found, "µs at p50", [1e3 * each.latency.p50_ms for each in _all(found)])
    parts = [
        section("about", "Model", facts(about)),
        section("variants", "Variants", shown, " ".join((sentence(found), *reasons(found)))),
        section("plots", "Quality against size and time", plots, "Numbers are those of the table."),
    ]
    body = f'<main id="main"><h1>Smaller variants of a model</h1>{"".join(parts)}</main>'
    return document("en", "Smaller variants of a model", body)


def _all(found: Optimized) -> tuple[Variant, ...]:
    return (found.before, *found.tried)


def _plot(found: Optimized, across: str, xs: Sequence[float]) -> str:
    """A numbered dot for each variant, with its quality upwards."""
    ys = [each.quality for each in _all(found)]
    ticks = nice_ticks(min([*ys, max(ys) - 0.04]), max(ys))
    edge = 0.05 * max(xs)
    scale = Scale(min(xs) - edge, max(xs) + edge, ticks[0], ticks[-1])
    parts = [frame(scale, ticks, "%", across)]
    for at, (x, y) in enumerate(zip(xs, ys, strict=True)):
        left, top = number(scale.x(x)), number(scale.y(y))
        name = escape(f"{at} {_all(found)[at].name}: {x:.3g} {across}, {y:.2%}", 200)
        parts.append(f'<g><title>{name}</title><circle class="dot" cx="{left}" cy="{top}" r="3"/>')
        parts.append(f'<text x="{number(scale.x(x) + 5)}" y="{number(scale.y(y) - 4)}">{at}</text></g>')  # fmt: skip
    return drawing("".join(parts), f"{found.metric} against {across}")
