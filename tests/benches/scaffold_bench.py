"""What control variates must be after any crash: what the witness saw against ledgers, files and checkpoints.

A device keeps the update it has sealed, so an attempt that was aborted may have given it one; it is
the newest, and it is what the next training bends by (docs/design.md, "Server learning").
"""

import hashlib
from itertools import groupby

import numpy as np

from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.agent.rounds.upload import from_blob, to_blob
from edgeveil.agent.rounds.variates import Variates
from edgeveil.agent.rounds.work import Training
from edgeveil.coordinator.runs import checkpoint, run_files
from edgeveil.shared.privacy.ledger.records import Kind


def watch(world):
    """Let the witness see every variate that is kept and every bend of a training; undo it by a call."""
    keep, bend = Variates.keep, Training._bend

    def seen_keep(variates, run_id, blob):
        agent = int(variates._path.parents[2].name.rpartition("-")[2])
        world.witness("keep", agent=agent, update=from_blob(blob).tolist())
        keep(variates, run_id, blob)
        world.witness("kept", agent=agent)

    def seen_bend(work, offer):
        found = bend(work, offer)
        attempt, home = offer.question.attempt, work._device.home.path.name
        world.witness(
            "bend", agent=int(home.rpartition("-")[2]), round=attempt.round,
            bend=None if found is None else found.tolist(),
        )  # fmt: skip
        return found

    Variates.keep, Training._bend = seen_keep, seen_bend

    def undo():
        Variates.keep, Training._bend = keep, bend

    return undo


def faults(world, run_id, witness, committed, means):
    """Every broken promise as a sentence. `means`: the mean update by committed round, from its parts."""
    yield from _server_faults(world.home / "runs" / run_id, committed, means)
    for number in range(world.scenario.agents):
        home = AgentHome(world.folder / f"agent-{number}")
        if (home.ledger_folder / "data" / "ledger.jsonl").exists():
            seen = [line for line in witness if line.get("agent") == number]
            yield from _bend_faults(number, seen, means)
            yield from _file_faults(home, run_id, seen, committed)


def _server_faults(place, committed, means):
    """The global variate is the mean of what was summed; the newest two states are kept."""
    saved = [number for number in committed if run_files.state_path(place, number).exists()]
    if committed and max(committed) not in saved:
        yield f"round {max(committed)} left no global variate"
    for number in saved:
        wanted = committed[number].extra[run_files.STATE_HASH]
        state = checkpoint.load(run_files.state_path(place, number), sha256=wanted)
        if not np.array_equal(state.vector, means[number]):
            yield f"round {number}: the global variate is not the mean of its survivors"


def _file_faults(home, run_id, seen, committed):
    name, place = home.path.name, home.ledger_folder / "data"
    records = list(ledger_records(place, home.identity().public))
    sealed = [r.text("blob_sha256") for r in records if r.kind is Kind.SEAL]
    kept = [key for key, _ in groupby(_sha(line) for line in seen if line["kind"] == "keep")]
    if len(set(kept)) != len(kept) or not set(kept) <= set(sealed):
        yield f"{name} kept a variate that it never sealed, or went back to an older one"
    submitted = {
        (r.number("round"), r.number("attempt")): r.text("blob_sha256")
        for r in records
        if r.kind is Kind.SUBMIT
    }
    # One that was sealed may be left: its device died, and the round went on without it.
    for at, blob in submitted.items():
        if blob not in kept:
            yield f"{name} submitted an update in round {at[0]} attempt {at[1]} that it never kept"
    own = Variates(place)._own(run_id)
    last = None if own is None else hashlib.sha256(to_blob(own)).hexdigest()
    if last not in [_sha(line) for line in _candidates(seen)]:
        yield f"{name}: the file is not the newest variate that was kept"
    newest = committed[max(committed)] if committed else None
    if newest and name in newest.survived and last != submitted[newest.round, newest.attempt]:
        yield f"{name}: the file is not its update of round {newest.round}, the last one"


def _bend_faults(number, seen, means):
    """Each training is bent by the mean of the round before less the newest variate that was kept."""
    for at, line in enumerate(seen):
        if line["kind"] != "bend":
            continue
        offered = means.get(line["round"] - 1, np.zeros_like(means[1]))
        wanted = [
            None if keep is None else (offered - np.float32(keep["update"])).tolist()
            for keep in _candidates(seen[:at])
        ]
        if line["bend"] not in wanted:
            yield f"agent-{number} trained in round {line['round']} with {line['bend']}, not one of {wanted}"


def _candidates(seen):
    """The last `keep` before now; if the process died within it, the one before is as good."""
    keeps = [line for line in seen if line["kind"] in {"keep", "kept"}]
    found = [line for line in keeps if line["kind"] == "keep"] or [None]
    if keeps and keeps[-1]["kind"] == "keep":
        return [found[-1], found[-2] if len(found) > 1 else None]
    return found[-1:]


def _sha(line):
    return None if line is None else hashlib.sha256(to_blob(np.float32(line["update"]))).hexdigest()
