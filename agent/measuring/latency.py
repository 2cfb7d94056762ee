"""One graph measured in a child process: how long it loads and answers, and the memory that takes."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import ModelError

LONGEST_S = 300.0
CPU = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Asked:
    """How to measure: at least `least` calls and `seconds`, after `warm_up` calls."""

    threads: int = 1
    batch: int = 1
    warm_up: int = 10
    seconds: float = 2.0
    least: int = 20
    provider: str = CPU


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of one call with a whole batch; `no_energy`: why `joules_per_record` is None."""

    provider: str
    load_ms: float
    calls: int
    p50_ms: float
    p99_ms: float
    cpu_p50_ms: float
    records_per_s: float
    peak_bytes: int
    before_bytes: int
    joules_per_record: float | None
    no_energy: str

    @property
    def memory_bytes(self) -> int:
        """What the graph and its work add to the process."""
        return max(0, self.peak_bytes - self.before_bytes)


def measured(graph: bytes, records: NDArray[np.float32], asked: Asked) -> Latency:
    """Of a checked graph on the first records (n, *shape), repeated up to a batch.

    Raises:
        ModelError: the runtime does not take it, fails, or is not done in LONGEST_S.
    """
    given = np.resize(records, (asked.batch, *records.shape[1:]))
    with tempfile.TemporaryDirectory(prefix="edgeveil-bench-") as name:
        folder = Path(name)
        (folder / "model.onnx").write_bytes(graph)
        np.save(folder / "records.npy", given)
        question = {
            "graph": str(folder / "model.onnx"),
            "records": str(folder / "records.npy"),
            "threads": asked.threads,
            "warm_up": asked.warm_up,
            "seconds": asked.seconds,
            "least": asked.least,
            "provider": asked.provider,
        }
        answer = _child(question)
    if "error" in answer:
        raise ModelError(f"the model cannot be measured with {asked.provider}: {answer['error']}")
    return Latency(**answer)


def _child(question: dict[str, object]) -> dict[str, Any]:
    command = [
        sys.executable,
        "-P",
        "-m",
        "edgeveil.agent.measuring.probe",
    ]  # -P: nothing of this folder is imported
    try:
        done = subprocess.run(  # noqa: S603 - this very interpreter, and a module of ours
            command,
            input=json.dumps(question).encode(),
            capture_output=True,
            timeout=LONGEST_S,
            env=os.environ,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {LONGEST_S:.0f} s"}
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return {"error": f"its process ended with {done.returncode}: {(lines or [''])[-1][:200]}"}
    return found
