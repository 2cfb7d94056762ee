"""Tables of a run's page: every attempt, the plan, what the plan asks of each device."""

from pathlib import PurePath

from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.coordinator.reports.facts import PATHS, RunFacts
from edgeveil.coordinator.reports.tables import headline_cell
from edgeveil.coordinator.reports.words import Words
from edgeveil.shared.pages.markup import Raw, facts, folded, table
from edgeveil.shared.pages.text import escape, human_bytes, utc
from edgeveil.shared.privacy.unlimited import shown
from edgeveil.shared.scores.metric import MetricSpec
from edgeveil.shared.scores.views import said

MOST_ROWS = 1000
OPEN_ROWS = 40  # more are folded away


def attempts_table(found: RunFacts, words: Words) -> str:
    records = found.records[-MOST_ROWS:]
    headline = found.scoring.headline
    before = words.headings(">round", ">attempt", "outcome", ">agents")
    quality = [] if headline is None else [f">{said(headline.title, words.language)}"]
    headings = before + quality + words.headings(">duration", ">bytes", "finished", "model")
    rows = [_row(record, headline, words) for record in reversed(records)]
    title = words("all_rounds", n=len(found.records))
    if len(records) < len(found.records):
        title = words(
            "latest_rounds", shown=len(records), n=len(found.records), run=found.run.run_id
        )
    inner = table(headings, rows, label=words("rounds"))
    return folded(title, inner, shown=len(records) <= OPEN_ROWS)


def _row(record: RoundRecord, headline: MetricSpec | None, words: Words) -> list[object]:
    good = record.outcome is not Outcome.ABORTED
    shown = words("evaluated" if record.evaluates else "committed")
    if not good:
        shown = f"{words('aborted')}: {record.reason}"
    return [
        record.round,
        record.attempt,
        Raw(f'<span class="{"good" if good else "bad"}">{escape(shown)}</span>'),
        f"{len(record.survived)}/{len(record.selected)}",
        *headline_cell(record, headline),
        f"{record.seconds:.1f}",
        human_bytes(record.bytes_up + record.bytes_down),
        utc(record.finished),
        Raw(f"<code>{escape(record.model_sha256 or '–')}</code>"),
    ]


def planned_facts(found: RunFacts, words: Words) -> str:
    proposal, training = found.proposal, found.plan.training
    sums = found.plan.limit_of_sums
    return facts(
        {
            words("limit"): f"ε {shown(found.plan.limit, 'g', words('not_limited'))}",
            **({words("limit_of_sums"): f"ε {sums:g}"} if sums else {}),
            words("delta"): f"{training.delta:g}",
            words("unit"): words("unit_device") if proposal.whole else words("unit_record"),
            words("noise"): f"{proposal.noise_multiplier:g}",
            words("clip"): f"{proposal.clip_norm:g}",
            **({words("rate"): f"{proposal.sample_rate:g}"} if not proposal.plain else {}),
            words("steps"): proposal.steps,
        }
    )


def plan_table(found: RunFacts) -> str:
    """The plan as it was given; of a path on the coordinator's disk only the last part."""
    blocks = []
    for name, part in found.plan.model_dump(mode="json").items():
        lines = [f"[{name}]"]
        for key, value in part.items():
            if value is None:
                continue
            shown = PurePath(str(value)).name if (name, key) in PATHS else value
            lines.append(f"{key} = {escape(shown, 2000)}")
        blocks.append("<pre>" + "\n".join(lines) + "</pre>")
    return f'<div class="plan">{"".join(blocks)}</div>'
