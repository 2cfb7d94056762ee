"""Homes of coordinators whose runs have learned something, without any round having been trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes_federation import plan_for
from look_bench import initialised
from reports_bench import a_record

from edgeveil.coordinator.records.records import RunState
from edgeveil.coordinator.runs import checkpoint, run_files
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.models.manifest import Manifest
from edgeveil.shared.models.package import assemble, piece
from edgeveil.shared.tasks import registry
from edgeveil.shared.wire.identity import Identity

VECTORS = Path(__file__).resolve().parents[1] / "vectors/models"
KEY = bytes(
    range(32)
)  # of the coordinator that signs vectors; known to everybody, trusted by nobody
NAMES = ["agent-1", "agent-2", "agent-3"]


class NoChance:
    """What a_record() draws: nobody drops, nothing aborts, times are zero."""

    def random(self):
        return 0.5

    def randint(self, low, high):
        return high

    def getrandbits(self, count):
        return 0


def trained(
    folder,
    task_id="feature-head",
    *,
    rounds=2,
    seed=0,
    scale=0.1,
    public=False,
    task_hash="",
    asked=(),
    **options,
):
    """(home, run id): a finished run whose rounds have models of random weights, better by round.

    `public`: the home signs with KEY; `task_hash` is what every round records; `asked`: more of its plan.
    """
    spec = registry.newest(task_id)
    task = registry.load(spec)
    raw = {key: value for key, value in options.items() if value is not None}
    tensors = task.tensors(task.parse_options(raw))
    home = initialised(folder)
    if public:
        key = home / "identity.key"
        key.unlink()
        key.write_bytes(KEY)
        key.chmod(0o600)
    plan = plan_for(len(NAMES), rounds__count=rounds, task__id=task_id, task__version=spec.version, task__options=raw, **dict(asked))  # fmt: skip
    draw = np.random.default_rng(seed)
    with Store.open(home) as store:
        run = store.create_run(plan.model_dump_json(), "ab" * 32)
        where = home / "runs" / run.run_id
        where.mkdir(parents=True, mode=0o700)
        for number in range(1, rounds + 1):
            vector = (draw.standard_normal(sum(int(np.prod(t.shape)) for t in tensors)) * scale).astype(np.float32)  # fmt: skip
            metadata = {"run": "a-run", "round": str(number), "task": f"{spec.id} {spec.version}"}
            path = run_files.model_path(where, number)
            digest = checkpoint.save(path, vector, tensors, metadata)
            attempt = store.open_attempt(run.run_id, number)
            record = a_record(number, NAMES, rng=NoChance(), run_id=run.run_id)
            extra = {**record.extra, "task_hash": task_hash}
            store.record_round(replace(record, attempt=attempt, model_sha256=digest, extra=extra))
        store.set_run_state(run.run_id, RunState.FINISHED)
    return home, run.run_id


def pictures(count, height, width, channels=1, *, seed=5):
    """(count, height, width[, channels]) uint8: stripes under noise, always the same."""
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 120, (count, height, width, channels))
    values[:, ::3] += 100
    found = values.astype(np.uint8)
    return found[..., 0] if channels == 1 else found


def signer_of(home):
    return Identity.load(home / "identity.key").public


def resigned(package, *, manifest=None, model=None, weights=None, key=KEY, **changes):
    """The bytes of a package with other contents, truly signed by `key`; `changes` are of the manifest."""
    model = package.model if model is None else model
    weights = package.weights if weights is None else weights
    values = (manifest or package.manifest).model_dump() | {"model": piece(model).model_dump(), "weights": piece(weights).model_dump()} | changes  # fmt: skip
    signer = Identity(Ed25519PrivateKey.from_private_bytes(key))
    return assemble(Manifest.model_validate(values), weights, model, signer)
