"""What SCAFFOLD gains over FedAvg when ten agents hold different digits: docs/benchmarks.md, "Unequal data".

The federation of bench_digits.py, with each agent's 143 digits of one class or two (`--mix 0`), or of
several. python scripts/bench_scaffold.py [--seeds 3] [--rounds 20] [--steps 5] [--mix 0 3]
"""

import argparse
import logging
import sys

import numpy as np
from bench_digits import Gate, train

CLIP_NORM, EPSILON = 0.4, 8.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rates", type=float, nargs="+", default=[1.0, 3.0, 10.0])
    parser.add_argument("--mix", type=float, nargs="+", default=[0.0, 3.0], help="0: sorted")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    for mix in chosen.mix:
        for strategy in ("fedavg", "scaffold"):
            for rate in chosen.rates:
                gate = Gate(EPSILON, chosen.rounds, chosen.steps, CLIP_NORM, rate, 0.0, strategy)
                found = [train(gate, 1 + n, True, mix) for n in range(chosen.seeds)]
                scores = [row["accuracy"] for row in found]
                print(
                    f"mix {mix:g}, {chosen.rounds} rounds of {chosen.steps} steps, {strategy}, rate "
                    f"{rate:g}: mean {np.mean(scores):.4f}, {min(scores):.4f} to {max(scores):.4f}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
