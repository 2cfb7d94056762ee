"""`agent verify`: recompute everything a ledger or a report claims, trusting neither.

No cache, no torch. Every signature, the chain, the order of records, every divergence and
ε (relative 1e-9), policy and cap at each reservation; what else on this device tells of the ledger (agent.ledger.witnesses); a report against the ledger it
speaks of, or, where that ledger is not at hand, against its own segments.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from edgeveil.agent.home.config import known_dataset
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.budget import check_known, open_home
from edgeveil.agent.ledger.prv import Prv
from edgeveil.agent.ledger.reading import (
    LEDGER,
    Verified,
    check_belongs,
    read_lines,
    verified_records,
)
from edgeveil.agent.ledger.witnesses import Witnesses, check_nothing_lost
from edgeveil.agent.reports.report import KIND, compose, message, segment_history
from edgeveil.shared.base import errors, files, names
from edgeveil.shared.pages.text import plain
from edgeveil.shared.privacy.filter import cap
from edgeveil.shared.privacy.ledger.facts import collect
from edgeveil.shared.privacy.ledger.records import Fault, Kind, LedgerDamaged, Record
from edgeveil.shared.privacy.ledger.replay import replay
from edgeveil.shared.privacy.ledger.state import LedgerState
from edgeveil.shared.privacy.rdp import Segment, epsilon, rdp_total, to_epsilon
from edgeveil.shared.privacy.report.page import load_strictly, read_data
from edgeveil.shared.privacy.report.two_figures import TwoFigures
from edgeveil.shared.privacy.shared_noise import SLACK
from edgeveil.shared.privacy.unlimited import UNLIMITED, shown
from edgeveil.shared.terminal.progress import counted, progress
from edgeveil.shared.wire.identity import verify

TOLERANCE = 1e-9
# Of a report from elsewhere: a segment at sample rate 1 costs microseconds, any other 32,640 terms, 0.7 ms.
MOST_SEGMENTS, MOST_SAMPLED = 20_000, 2000
MOST_SAID = 2000  # characters of one sentence: a report can state anything of any length
# What a later moment, another machine or another installation says differently.
NOT_COMPARED = {
    "identity": {"time", "reported_by", "software"},
    "guarantee": {"epsilon_prv", "epsilon_prv_note"},
    "mechanism": {"audit"},
    "accounting": {"version", "cross_check"},
    "integrity": {"refusals", "previous_report_sha256"},
}


class Verdict(IntEnum):
    """Exit codes of `agent verify` (docs/operating.md, "Checking a ledger or a report")."""

    OK = 0
    CHAIN = 3
    ARITHMETIC = 4
    OVER_BUDGET = 5
    REPORT = 6


VERDICTS = {
    Fault.CHAIN: Verdict.CHAIN,
    Fault.ORDER: Verdict.CHAIN,
    Fault.ARITHMETIC: Verdict.ARITHMETIC,
    Fault.BUDGET: Verdict.OVER_BUDGET,
}


@dataclass
class Finding:
    """`checked` are sentences on what held, `noticed` on what is odd and harmless, `faults` on what did not."""

    verdict: Verdict = Verdict.OK
    checked: list[str] = field(default_factory=list)
    noticed: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def fail(self, verdict: Verdict, why: str) -> None:
        self.verdict = self.verdict if self.faults else verdict
        self.faults.append(plain(why, MOST_SAID))

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.verdict is Verdict.OK,
            "verdict": self.verdict.name.lower(),
            "checked": self.checked,
            "noticed": self.noticed,
            "faults": self.faults,
        }


def check(path: Path, dataset: str | None, report: Path | None, *, quiet: bool = True) -> Finding:
    """Check the ledger of this home, if there is one, and the report, if one is named.

    Unless `quiet`, a terminal shows how far it got.

    Raises:
        ConfigError: the report cannot be read as one, or the data set named was never used here.
        EnrollmentError: there is neither.
    """
    finding = Finding()
    claimed = None if report is None else read_report(report)
    home = _home(path, claimed)
    records: list[Record] = []
    if home is not None:
        check_known(home, dataset)
        name = dataset or (claimed["dataset"] if claimed else known_dataset(path))
        records = _check_ledger(home, str(name), finding, quiet=quiet)
    if claimed is not None and not finding.faults:
        _check_report(home, records, claimed, finding)
    if home is None and claimed is None:
        raise errors.EnrollmentError(f"{path}: no agent lives here, and no report was named")
    return finding


def read_report(path: Path) -> dict[str, Any]:
    """The report in a .json file or in a page; raises ConfigError."""
    try:
        text = files.read_text(path)
        found = read_data(text) if text.lstrip()[:1] == "<" else load_strictly(text)
        if not isinstance(found, dict) or found.get("kind") != KIND:
            raise ValueError("not a privacy report of an agent")
        if names.NAME.fullmatch(str(found.get("dataset"))) is None:
            raise ValueError("it names no data set")
    except (ValueError, RecursionError) as error:
        raise errors.ConfigError(f"{path}: cannot be read as a report ({error})") from error
    return found


def _home(path: Path, claimed: Mapping[str, Any] | None) -> AgentHome | None:
    """The home, unless there is none, or it is another device's than the report's."""
    if not path.is_dir() and claimed is not None:
        return None
    home = open_home(path)
    if claimed is not None:
        try:
            own = home.identity().public.hex() == claimed["identity"]["public_key"]
        except (KeyError, TypeError) as error:
            raise errors.ConfigError("the report names no public key") from error
        return home if own else None
    home.pinned()
    return home


def _check_ledger(home: AgentHome, name: str, finding: Finding, *, quiet: bool) -> list[Record]:
    folder = home.ledger_folder / name
    public = home.identity().public
    if not (folder / LEDGER).exists():
        try:
            check_nothing_lost(folder, public, home.last_attempts())
        except errors.StateDamaged as error:
            finding.fail(Verdict.CHAIN, f"data set {name}: {error}")
            return []
        finding.checked.append(f"data set {name}: no ledger yet, nothing was spent")
        return []
    try:
        witnesses = Witnesses.hear(folder, public, home.last_attempts())
        whole, tail = read_lines(folder / LEDGER)
        records = verified_records(whole, public, quiet=quiet)
        with progress("recomputing", len(records), quiet=quiet) as step:
            state = replay(counted(records, step))
        check_belongs(state, folder)
        _check_policy(records)
    except LedgerDamaged as error:
        finding.fail(VERDICTS[error.fault], f"data set {name}: {error}")
        return []
    except errors.StateDamaged as error:  # a witness that cannot be read
        finding.fail(Verdict.CHAIN, f"data set {name}: {error}")
        return []
    judgement = witnesses.judge(Verified(state, whole, tail, 0))
    finding.noticed += [f"data set {name}: {remark}" for remark in judgement.remarks]
    finding.checked += [
        f"data set {name}: {state.seq} records, every hash and signature, in legal order",
        (
            f"every divergence and epsilon recomputed: spent {shown(state.epsilon_spent, '.6g')}, enforced "
            f"{shown(state.epsilon_enforced, '.6g')} of {state.epsilon_max:g} at delta {state.delta:g}"
        ),
        *_both(state),
        f"policy and budget respected by each of {state.rounds_charged} charged rounds",
    ]
    for fault in judgement.faults:
        finding.fail(Verdict.CHAIN, f"data set {name}: {fault}")
    if not judgement.faults:
        finding.checked.append(
            f"bookmark, list of ledgers, sealed update and {len(witnesses.attempts)} runs this device "
            "took part in agree with it"
        )
    return records


def _both(state: LedgerState) -> tuple[str, ...]:
    """Both figures and when each holds, where noise is, or may be, in shares."""
    most = state.limits.epsilon_sum_max
    if not (state.shared or most):
        return ()
    two = TwoFigures(state.epsilon_sum, most or UNLIMITED, state.epsilon_spent, state.epsilon_max)
    return two.sentences(form=".6g")


def _check_policy(records: Sequence[Record]) -> None:
    """Each reservation inside the policy that was chained when it was made."""
    policy = Policy.default()
    for record in records:
        if record.kind in (Kind.OPEN, Kind.POLICY):
            policy = Policy.from_json(record.text("policy"))
        if record.kind is Kind.UNLIMITED:
            _check_unlimited(record, policy)
        if record.kind not in (Kind.RESERVE, Kind.SHARED):
            continue
        sigma, q, clip = (record.real(name) for name in ("sigma", "q", "clip"))
        if record.kind is Kind.SHARED:  # charged as a little less noise than the plan had
            sigma *= 1 + 2 * SLACK
        within = (
            sigma >= policy.sigma_min
            and q <= policy.q_max
            and record.number("steps_planned") <= policy.steps_max
            and clip in policy.clip_norm
        )
        if not within:
            raise LedgerDamaged(Fault.BUDGET, record.seq, "outside the policy then in force")


def _check_unlimited(record: Record, policy: Policy) -> None:
    """A round without noise where the owner had allowed it; that it is marked is what every reader relies on."""
    within = (
        record.text("coordinator_id") in policy.exempt
        and record.number("steps_planned") <= policy.steps_max
        and record.real("clip") in policy.clip_norm
    )
    if not within:
        raise LedgerDamaged(Fault.BUDGET, record.seq, "outside the policy then in force")


def _check_report(
    home: AgentHome | None, records: Sequence[Record], claimed: Mapping[str, Any], finding: Finding
) -> None:
    try:
        public = bytes.fromhex(claimed["identity"]["public_key"])
        signature = bytes.fromhex(claimed["signature"])
        verify(
            public,
            signature,
            message(claimed),
            code=errors.RefusalCode.LEDGER_CORRUPT,
            who="the device over this report",
        )
        finding.checked.append(f"the report is signed by the device with key {public.hex()[:16]}…")
        history = segment_history(claimed)
        excess = _excess(history)
        if excess is None:
            _recompute(claimed, history, finding)
        elif home is None:
            finding.fail(Verdict.REPORT, f"{excess}, and its ledger is not here")
        else:
            finding.noticed.append(f"{excess}; they are compared with the ledger")
        if home is None and claimed["guarantee"].get("sums"):
            finding.noticed.append("what sums show cannot be recomputed without the ledger")
        if home is None:
            finding.checked.append(
                "its ledger is not here: the figures follow from its segments, and whose key that is "
                "cannot be told here"
            )
        elif not finding.faults:
            _compare(home, records, claimed, finding)
    except errors.ProtocolError as error:
        finding.fail(Verdict.REPORT, str(error))
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        finding.fail(Verdict.REPORT, f"the report is malformed ({type(error).__name__}: {error})")


def _excess(history: Sequence[Segment]) -> str | None:
    """Why a report states too much to recompute it: whoever sends one chooses how much that is."""
    sampled = len({segment[:2] for segment in history if segment.sample_rate < 1})
    if len(history) <= MOST_SEGMENTS and sampled <= MOST_SAMPLED:
        return None
    return (
        f"the report states {len(history)} segments, {sampled} with different noise or sampling below 1; "
        f"at most {MOST_SEGMENTS} and {MOST_SAMPLED} are recomputed"
    )


def _recompute(claimed: Mapping[str, Any], history: Sequence[Segment], finding: Finding) -> None:
    """Every ε that follows from the report's own segments."""
    guarantee = claimed["guarantee"]
    delta = float(guarantee["delta"])
    limited = _says_limited(claimed, finding)
    figures: dict[str, float | None] = {
        "epsilon_spent": epsilon(history, delta)[0] if limited else None
    }
    if history:
        order = int(guarantee["alpha"])
        spent = rdp_total(history, order)
        limit = cap(float(guarantee["epsilon_limit"]), delta, order)
        figures |= {
            "rdp_spent": spent,
            "cap": limit,
            "epsilon_enforced": to_epsilon(spent, order, delta) if limited else None,
            "share_spent": min(1.0, spent / limit) if limit > 0 and limited else 1.0,
        }
    for name, expected in figures.items():
        for where, stated in (("guarantee", guarantee), ("report", claimed)):
            if name in stated and not _same(stated[name], expected):
                finding.fail(
                    Verdict.REPORT,
                    f"{where}: {name} is {stated[name]}, recomputed {shown(expected, '.9g')}",
                )
    if not finding.faults:
        finding.checked.append("every epsilon of the report recomputed from its segments")


def _says_limited(claimed: Mapping[str, Any], finding: Finding) -> bool:
    """Whether the report knows of no round without noise; it must say the same everywhere."""
    rounds = claimed["mechanism"]["without_noise"]["rounds"]
    limited: bool = rounds == 0
    told = (claimed["limited"], claimed["guarantee"]["limited"])
    if claimed["rounds_without_noise"] != rounds or any(one is not limited for one in told):
        finding.fail(
            Verdict.REPORT, "the report says different things on whether rounds were without noise"
        )
    return limited


def _compare(
    home: AgentHome, records: Sequence[Record], claimed: Mapping[str, Any], finding: Finding
) -> None:
    """The report again, made from the ledger as it was when the report was made."""
    seq = int(claimed["integrity"]["ledger_records"])
    if seq > len(records):
        finding.fail(
            Verdict.REPORT,
            f"the report speaks of {seq} records, the ledger has {len(records)}: it was restored "
            "from a copy, or the report is of another one",
        )
        return
    then = _then(records[:seq])
    policy = Policy.from_json(then.state.limits.policy_json) if then is not None else None
    facts = collect(record.body for record in records[:seq])
    expected = compose(
        home,
        str(claimed["dataset"]),
        then,
        policy or Policy.load(home.policy_path),
        facts=facts,
        numeric=Prv(None, ""),
        now="",
    )
    different = [path for path in _differences(expected, claimed) if not _ignored(path)]
    for path in different[:20]:
        finding.fail(Verdict.REPORT, f"{'.'.join(path)} differs from the ledger")
    if not different:
        finding.checked.append(f"the report equals the ledger at record {seq} of {len(records)}")


def _then(records: Sequence[Record]) -> Verified | None:
    if not records:
        return None
    state: LedgerState = replay(records)
    return Verified(state, b"".join(record.line() for record in records), b"", 0)


def _differences(expected: Any, claimed: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths at which two JSON values differ by more than rounding."""
    if isinstance(expected, Mapping) and isinstance(claimed, Mapping):
        keys = sorted({*expected, *claimed} - {"signature"})
        found = [
            _differences(expected.get(key), claimed.get(key), (*path, str(key))) for key in keys
        ]
        return [item for items in found for item in items]
    if isinstance(expected, list | tuple) and isinstance(claimed, list):
        if len(expected) != len(claimed):
            return [path]
        pairs = enumerate(zip(expected, claimed, strict=True))
        found = [_differences(a, b, (*path, str(index))) for index, (a, b) in pairs]
        return [item for items in found for item in items]
    return [] if _same(claimed, expected) else [path]


def _ignored(path: tuple[str, ...]) -> bool:
    return len(path) > 1 and path[1] in NOT_COMPARED.get(path[0], set())


def _same(claimed: Any, expected: Any) -> bool:
    """Numbers within the tolerance, everything else equal; NaN is never right."""
    if isinstance(expected, bool) or isinstance(claimed, bool):
        return claimed is expected
    if isinstance(expected, int | float) and isinstance(claimed, int | float):
        return math.isclose(claimed, expected, rel_tol=TOLERANCE, abs_tol=1e-12)
    return bool(claimed == expected)
