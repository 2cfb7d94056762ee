"""Runs that never happened, of any size, for what only looks at records."""

import random

from fakes_federation import plan_for

from edgeveil.coordinator.records.records import Outcome, RoundRecord, Run, RunState
from edgeveil.coordinator.reports.facts import RunFacts

RUN_ID = "run-20260131-120000-9f3c07d1"


def a_run(plan=None, *, rounds=3, agents=4, state=RunState.FINISHED, reason=""):
    plan = plan or plan_for(max(3, agents), rounds__count=max(1, rounds))
    return Run(RUN_ID, plan.model_dump_json(), "ab" * 32, 1.75e9, state, reason)


def a_record(number, agents, *, rng, drop=0.0, abort=0.0, evaluate=True, run_id=RUN_ID):
    dropped = {
        name: rng.choice(["refused:BUDGET_WOULD_EXCEED", "deadline", "lost"])
        for name in agents
        if rng.random() < drop
    }
    failed = rng.random() < abort
    extra = {
        "dropped_stages": dict.fromkeys(dropped, "round"),
        "roster_epoch": 2,
        "versions": {"edgeveil": "0.1.0", "torch": "2.14.1"},
    }
    metrics = {}
    if evaluate and not failed:
        metrics = {
            "accuracy": 1 - 0.5 / (1 + number / 5),
            "macro_f1": 0.98 - 0.55 / (1 + number / 5),
            "loss": 2.3 / (1 + number / 4),
            "examples": 1000.0,
        }
        counts = [[rng.randint(60, 99) if i == j else rng.randint(0, 6) for j in range(10)] for i in range(10)]  # fmt: skip
        extra["confusion"] = {"classes": [str(k) for k in range(10)], "counts": counts}
    return RoundRecord(
        run_id, number, 1, Outcome.ABORTED if failed else Outcome.COMMITTED,
        reason="COHORT_TOO_SMALL" if failed else "",
        selected=tuple(agents),
        survived=() if failed else tuple(name for name in agents if name not in dropped),
        dropped=tuple(dropped), dropped_reasons=dropped,
        stage_seconds={"round": 1 + rng.random(), "share": 0.1, "masked": 0.3, "agree": 0.1, "unmask": 0.2},
        metrics=metrics, seconds=1.9 + rng.random(), bytes_up=117_500, bytes_down=132_900,
        model_sha256="" if failed else f"{rng.getrandbits(256):064x}", finished=1.75e9 + 3 * number, extra=extra,
    )  # fmt: skip


def facts_of(rounds, agents, *, seed=1, goal=None, state=RunState.FINISHED, plan=None, **chances):
    rng = random.Random(seed)
    names = [f"agent-{number}" for number in range(1, agents + 1)]
    records = []
    for number in range(1, rounds + 1):
        asked = names if goal is None else sorted(rng.sample(names, goal))
        records.append(a_record(number, asked, rng=rng, **chances))
    return RunFacts(a_run(plan, rounds=rounds, agents=agents, state=state), records)
