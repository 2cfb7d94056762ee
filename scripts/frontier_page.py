"""What scripts/bench_frontier.py has measured, as records for scripts/bench.py, a page and a drawing."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np

Cells = dict[str, Any]
EPSILONS = (1, 3, 8)
WAYS = {"local": "#b5541c", "shared": "#1f6fb2", "central": "#4b8b3b"}
TITLES = {
    "digits": "digits, 10 × 143",
    "watch": "watch, 8 wearers, two unseen",
    "fashion-300": "Fashion-MNIST, 10 × 300",
    "fashion-1000": "Fashion-MNIST, 10 × 1,000",
    "fashion-6000": "Fashion-MNIST, 10 × 6,000",
}
GOALS = {
    ("fashion-1000", 1): 82.0,
    ("fashion-1000", 3): 85.5,
    ("fashion-1000", 8): 86.5,
    ("digits", 1): 85.0,
}
COMMAND = "python scripts/bench_frontier.py OUT.json --watch watch_dataset.npy"
INTRO = (
    "Mean test accuracy over five seeds of a linear head on public features, δ = 1e-5, by who adds the noise; every "
    "setting by the rule of `coordinator plan new` (docs/results/frontier.md). *Peer*: each device adds all of it."
)
PAGE = """\
# Who adds the noise, and what it costs

What a linear head on public features, of digits on their pixels, learns of devices with few records, if each device adds all of the noise
("local"), a share of it under the masks ("shared", [privacy.md](../privacy.md)), if one party held all records
("central"), and without noise. Mean accuracy in per cent over {seeds} seeds, its standard deviation behind ±; δ = 1e-5,
ε of whoever sees only sums. Classes are dealt evenly; of the watch each seed leaves another pair of wearers out.

![Accuracy by ε](frontier.svg)

{table}

Made by [scripts/bench_frontier.py](../../scripts/bench_frontier.py) in numpy on features that are computed once: the
mechanism of the trainer with Gaussian noise of the plan's multiplier, without ledgers, secure aggregation and rounding.
Every rate and all noise follow from devices, records and ε by the rule of `coordinator plan new`; no setting was chosen
on data that are tested on. "Local" is what `plan new` writes: 20 rounds of 4 steps, and of
10 × 6,000 at ε 3 and 8 100 rounds of one step with momentum, which alone puts it above the other ways there: these have
none, at the limit of the rate. "Shared" is 100 rounds of one step,
as noise in shares needs, at the rule's own reach, the best of those tried on training images that were held out; it
counts on 6 of 10 honest agents, of the watch on 4 of 8, while all are there. "Central" is the same with the noise once,
"without noise" the plan of "shared" at ε 8 without it. The budgets of the first two hold back what a noisy count of the
records would cost, which an owner who declares `n_ref` need not pay. {missing}
"""


def write(done: Cells, folder: Path) -> None:
    """frontier.json, .md and .svg, of the cells that are there."""
    there = [name for name in TITLES if f"{name}, 8, central" in done]
    (folder / "frontier.json").write_text(
        json.dumps(_records(done, there), indent=2, ensure_ascii=False) + "\n"
    )
    gone = [TITLES[name] for name in TITLES if name not in there]
    missing = f"Not measured yet: {'; '.join(gone)}." if gone else ""
    seeds = max(len(cell["accuracy"]) for cell in done.values())
    page = PAGE.format(seeds=seeds, table=_table(done, there), missing=missing)
    (folder / "frontier.md").write_text(page.rstrip() + "\n")
    (folder / "frontier.svg").write_text(_drawing(done, there))


def _mean(done: Cells, name: str, epsilon: int, way: str) -> float:
    return 100 * float(np.mean(done[f"{name}, {epsilon}, {way}"]["accuracy"]))


def _cell(done: Cells, name: str, epsilon: int, way: str) -> str:
    found = 100 * np.array(done[f"{name}, {epsilon}, {way}"]["accuracy"])
    return f"{found.mean():.1f} ± {found.std(ddof=1):.1f}"


def _table(done: Cells, names: list[str]) -> str:
    lines = ["| data | ε | local | shared | central | without noise |", "|---|---|---|---|---|---|"]
    for name in names:
        for epsilon in EPSILONS:
            cells = [_cell(done, name, epsilon, way) for way in WAYS]
            cells.append(_cell(done, name, 0, "none") if epsilon == EPSILONS[0] else "")
            lines.append(f"| {_title(done, name)} | {epsilon} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _title(done: Cells, name: str) -> str:
    """With the number of seeds where a run was cut short."""
    most = max(len(cell["accuracy"]) for cell in done.values())
    found = min(len(cell["accuracy"]) for key, cell in done.items() if key.startswith(f"{name},"))
    return TITLES[name] + (f" ({found} seeds)" if found < most else "")


def _records(done: Cells, names: list[str]) -> dict[str, Any]:
    records = []
    for name in names:
        for epsilon in EPSILONS:
            record = {
                "figure": f"{_title(done, name)}: shared at ε {epsilon}",
                "value": round(_mean(done, name, epsilon, "shared"), 1),
                "unit": "%",
                "peer": "local noise",
                "peer_value": round(_mean(done, name, epsilon, "local"), 1),
                "command": COMMAND,
                "date": dt.datetime.now(dt.UTC).date().isoformat(),
                "load": "1 to 20; accuracy does not depend on it",
                "remark": f"central {_mean(done, name, epsilon, 'central'):.1f}, without noise {_mean(done, name, 0, 'none'):.1f}",
            }
            if (goal := GOALS.get((name, epsilon))) is not None:
                record |= {"goal": goal, "better": "higher"}
            records.append(record)
    return {"subject": "Who adds the noise", "order": 9, "intro": INTRO, "records": records}


def _drawing(done: Cells, names: list[str]) -> str:
    """A panel for each data set: accuracy over ε, a line for each way, a dashed one without noise."""
    wide, high, left, top = 190, 150, 44, 46
    parts = []
    least = min(_mean(done, name, 1, "local") for name in names) // 5 * 5

    def up(value: float) -> float:
        return top + high - (value - least) / (100 - least) * high

    for place, name in enumerate(names):
        at = left + place * (wide + 20)
        parts.append(f'<text x="{at}" y="{top - 10}" font-weight="bold">{TITLES[name]}</text>')
        ticks = range(int(least), 101, 10)
        parts += [
            f'<path d="M{at} {up(tick):.1f}h{wide}" stroke="#bbb" stroke-width=".5"/>'
            for tick in ticks
        ]
        parts += [
            f'<text x="{at - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick}</text>'
            for tick in ticks
            if not place
        ]
        across = [at + wide * share for share in (0.1, 0.5, 0.9)]
        parts += [
            f'<text x="{x:.0f}" y="{top + high + 16}" text-anchor="middle">ε {epsilon}</text>'
            for x, epsilon in zip(across, EPSILONS, strict=True)
        ]
        for way, colour in WAYS.items():
            ys = [up(_mean(done, name, epsilon, way)) for epsilon in EPSILONS]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, ys, strict=True))
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in zip(across, ys, strict=True)]  # fmt: skip
        quiet = up(_mean(done, name, 0, "none"))
        parts.append(f'<path d="M{at} {quiet:.1f}h{wide}" stroke="#666" stroke-dasharray="4 3"/>')
    for place, (way, colour) in enumerate([*WAYS.items(), ("without noise", "#666")]):
        x = left + place * 110
        parts.append(f'<path d="M{x} 14h20" stroke="{colour}" stroke-width="3"/><text x="{x + 26}" y="18">{way}</text>')  # fmt: skip
    width, height = left + len(names) * (wide + 20), top + high + 30
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#333" role="img" aria-label="Accuracy by epsilon">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )
