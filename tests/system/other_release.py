"""Run one side of a federation of thin agents as another release: python other_release.py ROLE FOLDER OLDEST NEWEST SIZE

ROLE is `coordinator`, or the numbers of agents such as 0,1. The product is unchanged but for the one line
of shared/wire/messages.py that says which protocol versions a release speaks, replaced before anything imports it.
"""

import importlib.util
import os
import sys
from pathlib import Path

from edgeveil.shared import wire

LINES = "PROTOCOL = 2\nVERSIONS = Versions(oldest=2, newest=PROTOCOL)"


def speak(oldest: int, newest: int) -> None:
    spec = importlib.util.find_spec("edgeveil.shared.wire.messages")
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).read_text()
    assert LINES in text
    text = text.replace(LINES, f"PROTOCOL = {newest}\nVERSIONS = Versions({oldest}, PROTOCOL)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    exec(compile(text, spec.origin, "exec"), module.__dict__)

    wire.messages = module  # type: ignore[attr-defined]


def main() -> None:
    role, folder, oldest, newest, size = sys.argv[1:]
    speak(int(oldest), int(newest))
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benches"))
    from scale_bench import Members, TlsFederation, plan_of
    from thin_bench import ThinTask

    from edgeveil.agent.home.home import AgentHome
    from edgeveil.coordinator.plan.plan import Plan
    from edgeveil.coordinator.store.store import Store
    from edgeveil.shared.wire import messages

    assert (messages.VERSIONS.oldest, messages.VERSIONS.newest) == (int(oldest), int(newest))
    members = object.__new__(Members)  # as it was made by another process
    members.folder, members.home = Path(folder), Path(folder) / "coordinator"
    members.task = ThinTask(int(size))
    members.homes = [AgentHome(path) for path in sorted(Path(folder).glob("agent-[0-9]*"))]
    members.plan, members.draws = plan_of(len(members.homes), 1), False  # as the test makes them
    federation = TlsFederation(members)
    if role != "coordinator":
        federation._work([int(number) for number in role.split(",")])
        return
    with Store.open(members.home) as store:
        (run,) = store.runs()
    members.run_id, members.plan = run.run_id, Plan.model_validate_json(run.plan)
    federation._serve()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # threads of links that gave up must not keep the process
