"""Records as tables on a terminal and as CSV. Texts from a plan or an error are shown as plain text."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.coordinator.reports.facts import STAGES, natural, part_of
from edgeveil.shared.base.names import SIMULATED
from edgeveil.shared.events.log import EventLine
from edgeveil.shared.pages.text import harmless, human_bytes, plain, utc
from edgeveil.shared.privacy.report.two_figures import holds_sums
from edgeveil.shared.privacy.unlimited import shown
from edgeveil.shared.scores.metric import MetricSpec, Scoring
from edgeveil.shared.tasks import registry
from edgeveil.shared.terminal.console import table

SHOWN_STAGE = {
    "round": "train",
    "share": "share",
    "masked": "mask",
    "agree": "agree",
    "unmask": "unmask",
}
SHORT_HASH = 16  # digits of a SHA-256 that a terminal shows
CSV_PART = 65_536  # characters at once
ASKED = (
    "state", "task", "epsilon_planned", "delta", "noise_multiplier", "clip_norm", "sample_rate",
    "steps_per_round", "rounds_planned", "rounds_committed", "attempts_aborted",
)  # fmt: skip
COST = ("smallest_sum", "seconds", "bytes_up", "bytes_down", "model_sha256")
CSV_COLUMNS = (
    "run", "round", "attempt", "outcome", "reason", "finished", "selected", "survived", "dropped",
    "seconds", *(f"seconds_{stage}" for stage in STAGES), "bytes_up", "bytes_down",
)  # fmt: skip


def rounds_tables(
    records: Sequence[RoundRecord], scorings: Mapping[str, Scoring]
) -> list[tuple[Table, str]]:
    """One table per run, oldest first, with one row per attempt; and its column of a metric, or "".

    `scorings`: by run.
    """
    runs = dict.fromkeys(record.run for record in records)
    return [
        _rounds_table(run, [r for r in records if r.run == run], scorings[run].headline)
        for run in runs
    ]


def _rounds_table(
    run: str, records: Sequence[RoundRecord], headline: MetricSpec | None
) -> tuple[Table, str]:
    quality = () if headline is None else (f">{headline.name}",)
    made = table(
        titled(run), ">round", ">try", "outcome", ">agents", "dropped", *quality, ">s", ">bytes"
    )
    for record in records:
        dropped = (f"{name} ({record.dropped_reasons.get(name, '?')})" for name in record.dropped)
        made.add_row(
            str(record.round),
            str(record.attempt),
            outcome_text(record),
            f"{len(record.survived)}/{len(record.selected)}",
            Text(plain(", ".join(dropped)) or "–"),
            *headline_cell(record, headline),
            f"{record.seconds:.1f}",
            human_bytes(record.bytes_up + record.bytes_down),
        )
    return made, "" if headline is None else headline.name


def titled(run: str) -> str:
    """The run, and that it was simulated."""
    return f"{run} (simulated)" if run.startswith(SIMULATED) else run


def headline_cell(record: RoundRecord, headline: MetricSpec | None) -> list[str]:
    """The value in the column of a task's first metric; no cell where the task measures nothing."""
    return [] if headline is None else [headline.shown(record.metrics.get(headline.name))]


def outcome_text(record: RoundRecord) -> Text:
    """How it ended, in the colour of that."""
    if record.outcome is Outcome.COMMITTED:
        return Text("committed", style="green")
    if record.outcome is Outcome.EVALUATED:
        return Text("evaluated", style="cyan")
    return Text(plain(record.reason) or "aborted", style="red")


def rounds_csv(records: Iterable[RoundRecord], metrics: Sequence[str]) -> Iterator[str]:
    """One line per attempt, some hundred at a time; a column for each of `metrics`, agents separated by spaces."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*CSV_COLUMNS, *metrics, "model_sha256"))
    for record in records:
        stages = record.stage_seconds
        dropped = (f"{name}:{record.dropped_reasons.get(name, '')}" for name in record.dropped)
        row = [
            record.run, record.round, record.attempt, record.outcome.value, record.reason,
            f"{record.finished:.3f}", " ".join(record.selected), " ".join(record.survived),
            " ".join(dropped), record.seconds, *(stages.get(stage, "") for stage in STAGES),
            record.bytes_up, record.bytes_down, *(record.metrics.get(name, "") for name in metrics),
            record.model_sha256,
        ]  # fmt: skip
        writer.writerow(harmless(cell) if isinstance(cell, str) else cell for cell in row)
        if out.tell() > CSV_PART:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()


def round_tables(records: Sequence[RoundRecord], events: Sequence[EventLine]) -> list[Table]:
    """One round in full: for every attempt its stages, and what each agent did in each of them."""
    made = []
    for record in records:
        lines = [line for line in events if line.attempt == record.attempt]
        made += [_stage_table(record), _agent_table(record, lines)]
        if record.sizes:
            made.append(_size_table(record))
    return made


def _stage_table(record: RoundRecord) -> Table:
    finished = utc(record.finished)
    title = f"{titled(record.run)} round {record.round} attempt {record.attempt}, {finished} UTC"
    made = table(title, "what", "value")
    made.add_row("outcome", outcome_text(record))
    detail = plain(str(record.extra.get("detail", "")))
    if detail:
        made.add_row("detail", Text(detail))
    for stage in STAGES:
        if stage in record.stage_seconds:
            made.add_row(f"stage {SHOWN_STAGE[stage]}", f"{record.stage_seconds[stage]:.2f} s")
    made.add_row("all", f"{record.seconds:.2f} s")
    made.add_row(
        "traffic", f"{human_bytes(record.bytes_up)} up, {human_bytes(record.bytes_down)} down"
    )
    for name, value in record.metrics.items():
        made.add_row(plain(name), f"{value:.4g}")
    if record.model_sha256:
        made.add_row("model SHA-256", record.model_sha256)
    return made


def _agent_table(record: RoundRecord, events: Sequence[EventLine]) -> Table:
    """Seconds from a stage's start to the agent's answer, and the bytes of that answer."""
    stages = ", ".join(SHOWN_STAGE.values())
    title = f"Agents; seconds until each answer: {stages}"
    made = table(title, "agent", "came out", "left at", "reason", "answered after", ">bytes up")
    made.columns[0].no_wrap = made.columns[1].no_wrap = True
    answers = {(line.agent, line.stage): line for line in events if line.event == "agent.reply"}
    for agent in sorted(record.selected, key=natural):
        part, left = part_of(record, agent), record.left_at(agent)
        given = [answers.get((agent, stage)) for stage in STAGES]
        times = ["–" if line is None else f"{(line.dur_ms or 0) / 1000:.2f}" for line in given]
        sent = sum(line.size for line in given if line is not None)
        made.add_row(
            agent,
            Text(part, style={"survived": "green", "refused": "red"}.get(part, "yellow")),
            SHOWN_STAGE.get(left, "–"),
            Text(plain(record.dropped_reasons.get(agent, "")) or "–"),
            " ".join(times),
            human_bytes(sent) if sent else "–",
        )
    for agent, reason in sorted(record.not_asked.items(), key=lambda item: natural(item[0])):
        why = Text(plain(reason))
        made.add_row(plain(agent), Text("not asked", style="dim"), "–", why, "–", "–")
    return made


def _size_table(record: RoundRecord) -> Table:
    """The records that devices declare, and their share of the sum where they were in it."""
    made = table("Sizes, by the devices' own word", "agent", ">declares", ">share of the sum")
    total = sum(record.sizes.get(name, 0) for name in record.survived)
    for agent, size in sorted(record.sizes.items(), key=lambda item: natural(item[0])):
        share = f"{size / total:.0%}" if agent in record.survived else "–"
        made.add_row(plain(agent), str(size), share)
    return made


def summary_table(report: dict[str, Any], models: Mapping[str, str]) -> Table:
    """`models`: name → what came out and in which file, the best first (reports.reading.both_models)."""
    made = table(f"Run {titled(report['run'])}", "what", "value")
    privacy, metrics = report["privacy"], report["metrics"]
    scoring = registry.scoring(report["task"].partition(" ")[0])
    reason = f" ({report['reason']})" if report["reason"] else ""
    rows = {
        **({"simulated": "on made-up devices"} if "simulated" in report else {}),
        **models,
        "state": report["state"] + reason,
        "task": report["task"],
        "rounds": f"{report['rounds_committed']} of {report['rounds_planned']} committed, {report['attempts_aborted']} attempts aborted",
        **{
            f"test {m.within}": m.shown(metrics[m.name]) if m.name in metrics else "not evaluated"
            for m in scoring.metrics
        },
        "planned budget": f"ε {shown(privacy['epsilon_planned'], 'g')} at δ {privacy['delta']:g} per agent and record",
        **(
            {
                "planned budget of sums": f"ε {privacy['epsilon_sum_planned']:g}. {holds_sums(privacy['honest'])}"
            }
            if "epsilon_sum_planned" in privacy
            else {}
        ),
        "noise multiplier": f"{privacy['noise_multiplier']:g} (clip norm {privacy['clip_norm']:g}, q {privacy['sample_rate']:g}, {privacy['steps_per_round']} steps a round)",
        "smallest sum": f"{report['secure_aggregation']['smallest_sum'] or 0} agents (never fewer than {report['secure_aggregation']['n_min']})",
        "traffic": f"{human_bytes(report['bytes_up'])} up, {human_bytes(report['bytes_down'])} down",
        "seconds": f"{report['seconds']:.1f}",
        **({} if models else {"model": "none yet"}),
        "model SHA-256": report["model_sha256"] or "–",
    }
    for key, value in rows.items():
        made.add_row(key, Text(plain(value, 1000)))
    return made


def compare_table(first: dict[str, Any], second: dict[str, Any], *, whole: bool = True) -> Table:
    """Two reports side by side; a mark where they differ. Unless `whole`, hashes are shortened."""
    made = table("", "what", "", first["run"], second["run"])
    for key, (left, right) in compare(first, second).items():
        shown = [_shown(value) for value in (left, right)]
        if key == "model_sha256" and not whole:
            shown = [f"{text[:SHORT_HASH]}…" if len(text) > SHORT_HASH else text for text in shown]
        made.add_row(key, "" if left == right else "≠", *(Text(value) for value in shown))
    return made


def compare(first: dict[str, Any], second: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two runs were asked, what came out, what it cost: name → (first, second)."""
    left, right = _flat(first), _flat(second)
    metrics = dict.fromkeys([*first["metrics"], *second["metrics"]])
    marks = [key for key in ("simulated",) if key in left or key in right]
    return {key: (left.get(key), right.get(key)) for key in (*marks, *ASKED, *metrics, *COST)}


def _flat(report: dict[str, Any]) -> dict[str, Any]:
    return {**report["metrics"], **report, **report["privacy"], **report["secure_aggregation"]}


def _shown(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else plain(str(value))
