"""A coordinator calls one client alive and dropped at once, to get both of its shares from every neighbour.

    python scripts/evidence/alive_and_dropped.py

Flower's client function, as installed, answers with both. Of secagg-v1 the coordinator tries the same by telling
some agents that the client uploaded and the others that it did not. Prints one row; exits 0 only if Flower
reveals both kinds and no agent of ours reveals anything of the client.
"""

import contextlib
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/benches"))

from flwr.app import ConfigRecord  # noqa: E402
from flwr.client.mod.secure_aggregation.secaggplus_mod import (  # noqa: E402
    SecAggPlusState,
    _unmask,
)
from flwr.common.secure_aggregation.secaggplus_constants import Key  # noqa: E402
from secagg_bench import Bench  # noqa: E402

from edgeveil.shared.secagg.agreement.messages import AgreeRequest, UnmaskReply  # noqa: E402
from edgeveil.shared.secagg.primitives.errors import Aborted  # noqa: E402

AGENTS, VICTIM = 5, 4


def flower_reveals_both() -> bool:
    state = SecAggPlusState()
    state.threshold = 1
    state.rd_seed_share_dict, state.sk1_share_dict = {VICTIM: b"seed"}, {VICTIM: b"key"}
    asked = {Key.ACTIVE_NODE_ID_LIST: [VICTIM], Key.DEAD_NODE_ID_LIST: [VICTIM]}
    return _unmask(state, ConfigRecord(asked))[Key.SHARE_LIST] == [b"seed", b"key"]


def ours_reveals(*, lying: bool) -> set[int]:
    """The kinds of shares of the victim that agents let go."""
    bench = Bench.of(AGENTS)
    victim = bench.agents[VICTIM].id

    def split(bodies: dict[bytes, bytes]) -> dict[bytes, bytes]:
        without = AgreeRequest(bytes([(1 << AGENTS) - 1 - (1 << VICTIM)])).encode()
        told = {agent.id for agent in bench.agents[:2]}
        return {agent: without if agent in told else body for agent, body in bodies.items()}

    with contextlib.suppress(Aborted):
        bench.play(requests={"agree": split} if lying else None)
    replies = (row[3] for row in bench.traffic if row[0] == "unmask")
    shares = (share for body in replies for share in UnmaskReply.decode(body, AGENTS).shares)
    return {kind for owner, kind, _ in shares if owner == victim}


def main() -> int:
    flower, honest, lied = (
        flower_reveals_both(),
        ours_reveals(lying=False),
        ours_reveals(lying=True),
    )
    shown = "both shares" if flower else "not both shares"
    kept = "no share" if not lied else f"{len(lied)} kind(s) of share"
    print(f"| alive and dropped at once | Flower {version('flwr')}: {shown} | secagg-v1: {kept} |")
    return 0 if flower and len(honest) == 1 and not lied else 1


if __name__ == "__main__":
    raise SystemExit(main())
