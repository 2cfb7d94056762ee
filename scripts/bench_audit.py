"""How near `agent audit` comes to what the noise allows: many audits of an honest engine, and what one takes.

python scripts/bench_audit.py [--task feature-head] [--variant fixed] [--canaries 6000] [--runs 20]
"""

import argparse
import json
import time

import numpy as np
import torch

from edgeveil.agent.training.auditing import audit as audits
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.records import ArrayRecords

DELTA = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="feature-head")
    parser.add_argument("--variant", default="fixed")
    parser.add_argument("--canaries", type=int, default=6000)
    parser.add_argument("--runs", type=int, default=20)
    told = parser.parse_args()
    task = registry.load(registry.newest(told.task))
    options = task.parse_options({"variant": told.variant})
    made_up = task.probe(400, torch.Generator().manual_seed(1), options)
    shares: dict[float, list[float]] = {claim: [] for claim in audits.SHARP}
    passed, began = 0, time.process_time()
    for run in range(told.runs):
        found = audits.audit(
            task,
            options,
            ArrayRecords(made_up[0].numpy(), made_up[1].numpy()),
            canaries=told.canaries,
            steps=2,
            delta=DELTA,
        )
        passed += found.passed
        for one in found.near:
            shares[one.claimed].append(one.epsilon / one.gaussian)
        print(f"{run + 1} of {told.runs}", flush=True)
    taken = (time.process_time() - began) / told.runs
    print(
        json.dumps(
            {
                "canaries": told.canaries,
                "runs": told.runs,
                "passed": passed,
                "cpu_seconds": round(taken, 2),
                "share": {
                    f"{claim:g}": {
                        "mean": round(float(np.mean(values)), 3),
                        "least": round(min(values), 3),
                        "at_least_0.85": sum(value >= 0.85 for value in values),
                    }
                    for claim, values in shares.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()
