"""Run `coordinator` or `agent` with a tap on it: python wiretap.py {coordinator,agent} ARGUMENTS…

The product is unchanged; this wrapper, in the same process, writes to EDGEVEIL_TAP what passes by:
every object the coordinator receives and every sum it decodes, every integer vector an agent is
about to mask. EDGEVEIL_DIE=STAGE@ROUND kills the agent with SIGKILL when that request arrives.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

import numpy as np

TAP = Path(os.environ["EDGEVEIL_TAP"])
numbers = itertools.count()


def tap_coordinator() -> None:
    from edgeveil.coordinator.gateway.edge_store import EdgeStore
    from edgeveil.coordinator.rounds import training_round

    accept, averaged = EdgeStore.accept, training_round.mean_update

    def keep_object(self, agent_id, session_id, object_id, content):
        (TAP / f"received-{agent_id.hex()}-{next(numbers):04d}.bin").write_bytes(content)
        return accept(self, agent_id, session_id, object_id, content)

    def keep_sum(result, params):
        np.save(TAP / f"sum-{next(numbers):04d}.npy", result.lanes)
        return averaged(result, params)

    EdgeStore.accept, training_round.mean_update = keep_object, keep_sum


def tap_agent() -> None:
    from edgeveil.agent.rounds import session, upload, work

    lanes = upload.vector_lanes

    def keep_lanes(update, params, n_ref):
        made = lanes(update, params, n_ref)
        np.savez(TAP / f"lanes-{os.getpid()}-{next(numbers):04d}.npz", lanes=made, update=update)
        return made

    work.vector_lanes = keep_lanes
    stage, _, number = os.environ.get("EDGEVEIL_DIE", "").partition("@")
    if stage:
        handle = session.Session.handle

        def die_or_handle(self, request):
            if request.stage.name.lower() == stage and request.attempt.round == int(number):
                os.kill(os.getpid(), signal.SIGKILL)
            return handle(self, request)

        session.Session.handle = die_or_handle


if __name__ == "__main__":
    role = sys.argv.pop(1)
    if role == "coordinator":
        tap_coordinator()
        from edgeveil.coordinator.cli.app import main
    else:
        tap_agent()
        from edgeveil.agent.cli.app import main
    sys.argv[0] = role
    main()
