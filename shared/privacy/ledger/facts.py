"""What a ledger tells beyond its sum: by whom, for what, how noisy, how interrupted. For reports.

Reads the bodies of records that were verified before; judges nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeveil.shared.privacy.ledger.records import ADDED, Kind
from edgeveil.shared.privacy.ledger.replay import counted
from edgeveil.shared.privacy.rdp import Segment, merge

COUNT = "none: the count of the records that n_ref was taken from"
TALLY = "discrete_gaussian_tally"  # the mechanism of an evaluation on records held out of training
# Of a round that hides a device's whole update, by noise that is all this device's, or a share.
WHOLE, WHOLE_SHARE = "discrete_gaussian_whole_update", "discrete_gaussian_whole_update_share"
MOST_POINTS = 400  # of the curve; a picture shows no more


@dataclass
class SegmentFacts:
    """All rounds of one (σ, q)."""

    rounds: int = 0
    steps: int = 0
    clip_norms: set[float] = field(default_factory=set)
    optimizers: set[str] = field(default_factory=set)
    steps_per_round: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Point:
    """After charged round `number`: the enforced ε and the share used of the allowed Rényi divergence."""

    number: int
    run: str
    round: int
    attempt: int
    epsilon_enforced: float
    share_spent: float


@dataclass
class Facts:
    """`segments` and `points` since the last reset; everything else over the whole ledger."""

    segments: dict[tuple[float, float], SegmentFacts] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    tasks: set[tuple[str, str, str]] = field(default_factory=set)  # id, version, hash
    coordinators: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    software: list[str] = field(default_factory=list)  # in order of appearance
    samplings: set[str] = field(default_factory=set)
    generators: set[str] = field(default_factory=set)
    gradient_modes: Counter[str] = field(default_factory=Counter)
    charged: int = 0
    unlimited: SegmentFacts = field(
        default_factory=SegmentFacts
    )  # rounds without noise; clip_norms bound updates
    shared: int = 0  # rounds with noise in shares since the last reset
    honest: set[int] = field(default_factory=set)  # how many honest agents their sums were to hold
    evaluations: int = 0  # of the charged rounds those that tally held-out records, since a reset
    whole: int = 0  # rounds whose noise hides the whole update, since the ledger was opened
    sealed: int = 0
    submitted: int = 0
    acknowledged: int = 0
    unknown: int = 0  # submitted, and never heard of again
    policy_changes: list[tuple[int, str]] = field(default_factory=list)  # Unix seconds, note
    resets: list[tuple[int, str]] = field(default_factory=list)
    before_resets: list[Segment] = field(default_factory=list)  # no longer counted, never undone
    anchors: int = 0
    opened: int = 0  # Unix seconds

    @property
    def never_sealed(self) -> int:
        """Charged rounds whose training did not end; their budget is spent all the same."""
        return self.charged - self.sealed

    @property
    def only_whole(self) -> bool:
        """Whether ε holds for all records of this device together: nothing else was ever charged, no count either."""
        return (
            0 < self.whole == self.charged and sum(s.steps for s in self.everything) == self.whole
        )

    @property
    def history(self) -> tuple[Segment, ...]:
        return merge(Segment(sigma, q, facts.steps) for (sigma, q), facts in self.segments.items())

    @property
    def everything(self) -> tuple[Segment, ...]:
        """The history since the ledger was opened, whatever was reset."""
        return merge([*self.before_resets, *self.history])


def collect(bodies: Iterable[Mapping[str, Any]]) -> Facts:
    """Facts of all records, oldest first."""
    facts = Facts()
    limit = 1.0
    for body in bodies:
        kind = Kind(body["kind"])
        if kind in (Kind.OPEN, Kind.POLICY):
            limit = float.fromhex(body["cap"])
            _note_policy(facts, body, kind)
        elif kind in (Kind.RESERVE, Kind.SHARED):
            _note_reserve(facts, body, limit)
        elif kind is Kind.UNLIMITED:
            _note_round(facts, body)
            _add_round(facts.unlimited, body)
        elif kind is Kind.SEAL:
            facts.sealed += 1
            facts.gradient_modes[body["gradient_mode"]] += 1
        elif kind is Kind.SUBMIT:
            facts.submitted += 1
        elif kind is Kind.ACK:
            facts.acknowledged += 1
            facts.unknown += body["note_code"] == "unknown"
        elif kind is Kind.ANCHOR:
            facts.anchors += 1
        elif kind is Kind.RESET:
            facts.resets.append((body["time"], body["note_code"]))
            facts.before_resets += facts.history
            facts.segments.clear()
            facts.points.clear()
            facts.shared = facts.evaluations = 0
            facts.honest.clear()
    return facts


def thinned(points: list[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` of them, evenly spaced, the last always among them."""
    if len(points) <= most:
        return points
    step = (len(points) - 1) / (most - 1)
    return [points[round(index * step)] for index in range(most)]


def _note_policy(facts: Facts, body: Mapping[str, Any], kind: Kind) -> None:
    if kind is Kind.OPEN:
        facts.opened = body["time"]
        for sigma, q, steps in counted(body.get("count_scale", 0), body["seq"]):
            facts.segments[sigma, q] = SegmentFacts(steps=steps, optimizers={COUNT})
        _note_software(facts, body["software"])
    else:
        facts.policy_changes.append((body["time"], body["note_code"]))


def _note_reserve(facts: Facts, body: Mapping[str, Any], limit: float) -> None:
    sigma, q = float.fromhex(body["sigma"]), float.fromhex(body["q"])
    _note_round(facts, body)
    _add_round(facts.segments.setdefault((sigma, q), SegmentFacts()), body)
    facts.samplings.add(body["sampling"])
    facts.generators.add(body["rng"])
    facts.evaluations += body["mechanism"] == TALLY
    facts.whole += body["mechanism"] in (WHOLE, WHOLE_SHARE)
    if "honest" in body:
        facts.shared += 1
        facts.honest.add(body["honest"])
    spent = float.fromhex(body["rdp_spent"])
    facts.points.append(
        Point(
            facts.charged,
            body["run_id"],
            body["round"],
            body["attempt"],
            float.fromhex(body["epsilon_enforced"]),
            min(1.0, spent / limit) if limit > 0 else 1.0,
        )
    )


def _note_round(facts: Facts, body: Mapping[str, Any]) -> None:
    """What every round tells, with noise or without."""
    facts.charged += 1
    facts.tasks.add((body["task_id"], body["task_version"], body["task_hash"]))
    facts.coordinators.add(body["coordinator_id"])
    facts.runs.add(body["run_id"])
    _note_software(facts, body["software"])


def _add_round(segment: SegmentFacts, body: Mapping[str, Any]) -> None:
    segment.rounds += 1
    segment.steps += body["steps_planned"]
    segment.steps_per_round.add(body["steps_planned"])
    segment.clip_norms.add(float.fromhex(body["clip"]))
    segment.optimizers.add(str(body.get("optimizer", ADDED[Kind.RESERVE]["optimizer"][1])))


def _note_software(facts: Facts, software: str) -> None:
    if software not in facts.software:
        facts.software.append(software)
