"""How often the goal is reached on the real round machine, with the cohort size the product computes.

    python scripts/monte_carlo_rounds.py --rounds 100000

Each agent is lost with the drop rate, at a random one of the five stages. A round succeeds if it is
not aborted and at least the goal is in the sum. Prints a table as JSON; 130 % of the goal is shown for comparison.
"""

import argparse
import json
import math
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches")]

from toy_machine_bench import lost_agents, play, toy_stages  # noqa: E402

from edgeveil.coordinator.plan.sections import SecaggSection  # noqa: E402
from edgeveil.coordinator.rounds.pacing import Rates  # noqa: E402


def success(  # noqa: PLR0917 - the six numbers of one row
    asked: int, goal: int, adverts: int, rate: float, rounds: int, seed: int
) -> float:
    chance = random.Random(seed)  # noqa: S311 - a simulation that must repeat
    reached = sum(
        play(asked, goal, adverts, lost_agents(asked, rate, chance)) >= goal for _ in range(rounds)
    )
    return reached / rounds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100_000, help="in all, over every row")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--goals", default="3,5,10,20,50")
    options = parser.parse_args()
    goals = [int(goal) for goal in options.goals.split(",")]
    each = max(1, options.rounds // (2 * len(goals)))
    quorum = SecaggSection(c_min=0).quorum
    rows = []
    began = time.monotonic()
    with toy_stages():
        for rate in (0.1, 0.2):
            first = rate / 5
            split = Rates(first, (rate - first) / (1 - first))
            for goal in goals:
                asked, adverts = split.asked(goal, quorum), split.adverts(goal, quorum)
                flat = math.ceil(1.3 * goal)
                rows.append(
                    {
                        "drop_rate": rate,
                        "goal": goal,
                        "asked": asked,
                        "adverts_awaited": min(adverts, asked),
                        "rounds": each,
                        "success": success(asked, goal, adverts, rate, each, options.seed),
                        "success_at_130_percent": success(
                            flat, goal, flat, rate, max(1, each // 10), options.seed
                        ),
                    }
                )
                print(rows[-1], file=sys.stderr)
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
