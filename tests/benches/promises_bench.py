"""The rules a federation of thin agents must keep, whatever died: what the witness saw against what the
product says afterwards.
"""

import collections
import json
from pathlib import Path

import numpy as np
import scaffold_bench
from crash_bench import World
from events_bench import read_events

from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.ledger.file import ledger_records, read_ledger
from edgeveil.coordinator.plan.derived import secagg_params, training_plan
from edgeveil.coordinator.runs import checkpoint
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.privacy.rdp import Segment, epsilon
from edgeveil.shared.vector.quantization import dequantise


def violations(folder, scenario, *, size=16, plan=None):
    """Every broken promise as a sentence; empty when all hold."""
    folder = Path(folder)
    if not (folder / "side" / "witness.jsonl").exists():
        return ["nothing ever happened"]
    witness = [
        json.loads(line) for line in (folder / "side" / "witness.jsonl").read_text().splitlines()
    ]
    found = []
    with Store.open(folder / "coordinator", read_only=True) as store:
        run = store.runs()[-1]
        records = store.rounds(run.run_id)
    committed = {row.round: row for row in records if row.outcome == "committed"}
    if sorted(committed) != list(range(1, scenario.rounds + 1)):
        found.append(f"rounds {sorted(committed)} are committed, not 1 to {scenario.rounds}")
    attempts = [(row.round, row.attempt) for row in records]
    if len(set(attempts)) != len(attempts):
        found.append("an attempt was recorded twice")
    found += _lost_commits(witness, committed)
    world = World(folder, scenario, size=size)
    means, wrong = _sums(world, plan, run.run_id, committed)
    found += wrong
    if scenario.strategy == "scaffold":
        found += scaffold_bench.faults(world, run.run_id, witness, committed, means)
    found += _event_faults(folder / "coordinator" / "runs" / run.run_id / "events.jsonl", committed)
    for number in range(scenario.agents):
        found += _ledger_faults(folder, number, witness)
    return found


def _lost_commits(witness, committed):
    for line in (line for line in witness if line["kind"] == "commit"):
        row = committed.get(line["round"])
        if row is None or (row.attempt, row.model_sha256) != (line["attempt"], line["sha256"]):
            yield f"round {line['round']} was acknowledged as {line['sha256'][:8]} and is {row}"


def _sums(world, plan, run_id, committed):
    """Each checkpoint is the one before plus the mean of exactly the survivors' vectors.

    The mean by round, and broken promises.
    """
    folder, plan = world.folder, plan or world.plan
    params = secagg_params(plan, training_plan(plan), world.size)
    segment = next(item for item in params.segments if item.name == "params")
    model = np.zeros(world.size, np.float32)
    means, found = {}, []
    for number, row in sorted(committed.items()):
        vectors = [
            np.load(folder / "side" / f"{number}-{row.attempt}-{name}.npy") for name in row.survived
        ]
        total = np.sum(vectors, axis=0)
        declared = sum(row.sizes.get(name, 0) for name in row.survived)
        if total[0] != declared or len(row.survived) < 3:
            found.append(f"round {number}: weight {total[0]} of {declared} of {row.survived}")
        mean = dequantise(total[1:], segment) / int(total[0])
        means[number] = mean.astype(np.float32)
        model = (model.astype(np.float64) + mean).astype(np.float32)
        path = folder / "coordinator" / "runs" / run_id / f"round-{number:04d}.safetensors"
        saved = checkpoint.load(path, sha256=row.model_sha256).vector
        if not np.array_equal(saved, model):
            found.append(f"round {number}: the checkpoint is not the sum of its survivors")
    return means, found


def _event_faults(path, committed):
    seen = collections.Counter(
        line.round for line in read_events(path) if line.event == "round.commit"
    )
    for number, times in seen.items():
        if times > 1 or number not in committed:
            yield f"round {number} is in the event log {times} times"


def _ledger_faults(folder, number, witness):
    """Charged at least what was trained, nothing twice, and nothing submitted that is not recorded."""
    home = AgentHome(folder / f"agent-{number}")
    ledger = home.ledger_folder / "data"
    trained = sum(line["kind"] == "train" and line["agent"] == number for line in witness)
    masked = {(line["round"], line["attempt"]) for line in witness if line["kind"] == "masked" and line["agent"] == number}  # fmt: skip
    if not (ledger / "ledger.jsonl").exists():
        if trained or masked:
            yield f"agent-{number} trained without a ledger"
        return
    public = home.identity().public
    records = list(ledger_records(ledger, public))
    state = read_ledger(ledger, public)

    def attempts(kind):
        return [(row.number("round"), row.number("attempt")) for row in records if row.kind is kind]

    reserved = attempts(Kind.RESERVE)
    if len(reserved) < trained:
        yield f"agent-{number} trained {trained} times and charged {len(reserved)}"
    if len(set(reserved)) != len(reserved):
        yield f"agent-{number} charged one attempt twice: {reserved}"
    submitted = attempts(Kind.SUBMIT)
    if not masked <= set(submitted):
        yield f"agent-{number} submitted {masked - set(submitted)} without a record"
    if len(set(submitted)) != len(submitted):
        yield f"agent-{number} recorded a submission twice: {submitted}"
    segments = [
        Segment(record.real("sigma"), record.real("q"), record.number("steps_planned"))
        for record in records
        if record.kind is Kind.RESERVE
    ]
    if segments and state.epsilon_spent < epsilon(segments, state.delta)[0] - 1e-9:
        yield f"agent-{number}: epsilon {state.epsilon_spent} is below what was charged"
