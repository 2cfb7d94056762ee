"""The child that measures: one graph, one runtime, nothing else in the process. Asked on standard input, as JSON.

It times whole calls: values in, values out. Peak memory is the highest resident size of the process, beside what
it was before the graph was loaded.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

QUIET = 3  # of onnxruntime: errors only
MOST = 20_000  # calls


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """`asked` as edgeveil.agent.measuring.latency writes it."""
    import onnxruntime  # noqa: PLC0415 - what is not there is told by the parent

    from edgeveil.agent.measuring.energy import counters  # noqa: PLC0415

    records = np.load(asked["records"], allow_pickle=False)
    before, began = _peak_bytes(), time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = asked["threads"]
    session = onnxruntime.InferenceSession(
        asked["graph"], options, providers=[asked["provider"]], enable_fallback=0
    )
    loaded = time.perf_counter() - began
    name = session.get_inputs()[0].name
    for _ in range(asked["warm_up"]):
        session.run(None, {name: records})
    meters = counters()
    charge, start = meters.read(), time.perf_counter()
    wall: list[float] = []
    cpu: list[float] = []
    while len(wall) < MOST and (len(wall) < asked["least"] or time.perf_counter() - start < asked["seconds"]):  # fmt: skip
        used, began = time.process_time(), time.perf_counter()
        session.run(None, {name: records})
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    joules = meters.joules(charge) if meters.paths else None
    return {
        "provider": session.get_providers()[0],
        "load_ms": 1e3 * loaded,
        "calls": len(wall),
        "p50_ms": 1e3 * statistics.median(wall),
        "p99_ms": 1e3 * float(np.quantile(wall, 0.99)),
        "cpu_p50_ms": 1e3 * statistics.median(cpu),
        "records_per_s": len(records) * len(wall) / sum(wall),
        "peak_bytes": _peak_bytes(),
        "before_bytes": before,
        "joules_per_record": None if joules is None else joules / (len(wall) * len(records)),
        "no_energy": meters.why,
    }


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    line = next((each for each in lines if each.startswith("VmHWM:")), "VmHWM: 0 kB")
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    try:
        answer = measure(json.load(sys.stdin))
    except Exception as error:  # noqa: BLE001 - a runtime may fail in any way; the parent says it
        answer = {"error": (str(error).splitlines() or [type(error).__name__])[0][:200]}
    sys.stdout.write(json.dumps(answer))
