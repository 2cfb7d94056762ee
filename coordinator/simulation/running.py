"""One simulated run from its plan to its report: devices made or found again, rounds driven, everything stopped."""

import contextlib
import functools
import json
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeveil.coordinator.machine.attempt import RoundMachine
from edgeveil.coordinator.plan.config import CoordinatorConfig, identity_path, load_config
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import Outcome, Run, RunState
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.runs.open_run import Progress
from edgeveil.coordinator.runs.runs import Taken, find_task, submit
from edgeveil.coordinator.serving import execution
from edgeveil.coordinator.simulation import enrolment, memory, ray_workers, records
from edgeveil.coordinator.simulation.forecast import Fleet, forecast
from edgeveil.coordinator.simulation.settings import Simulation
from edgeveil.coordinator.simulation.summing import SumMachine
from edgeveil.coordinator.simulation.transport import SimulatedTransport
from edgeveil.coordinator.simulation.workers import LocalWorkers, Workers
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import ConfigError, RunClosed, RunFailed, RunRefused
from edgeveil.shared.base.files import exclusive_lock, write_atomic
from edgeveil.shared.events.log import Event, EventLine, EventLog
from edgeveil.shared.tasks import registry
from edgeveil.shared.vector.model_vector import count
from edgeveil.shared.wire.identity import Identity

FACTS = "simulated.json"  # in a run's folder
NO_RAY = "off"
CAUSES: dict[int, type[RunFailed]] = {
    kind.exit_code: kind for kind in (RunFailed, RunRefused, RunClosed)
}


@dataclass(frozen=True)
class Way:
    """How it is carried out: nothing of it changes what a device computes. `say` tells one sentence."""

    ray: str | None
    dropout: float
    fleet: Fleet
    say: Callable[[str], None]
    quiet: bool


def adapted(plan: Plan, home: Path, rounds: int | None) -> Plan:
    """The plan with so many rounds, measured on what the simulation holds out unless it names data itself."""
    if rounds is not None:
        plan = plan.model_copy(update={"rounds": plan.rounds.model_copy(update={"count": rounds})})
    if plan.evaluation.data is None and not plan.evaluation.on_devices:
        measured = plan.evaluation.model_copy(update={"data": records.held_out(home)})
        plan = plan.model_copy(update={"evaluation": measured})
    return Plan.model_validate(plan.model_dump())


def check(plan: Plan, agents: int, ray: str | None, data: Path | None = None) -> None:
    """What can be refused before there is a folder; raises ConfigError, DataError, NotInstalled."""
    if agents < plan.rounds.minimum:
        raise ConfigError(
            f"--agents {agents}: the plan wants at least {plan.rounds.minimum} in a round (rounds.minimum)"
        )
    records.check(plan, data)
    if ray != NO_RAY:
        ray_workers.check_installed()


def simulate(
    home: Path, plan: Plan, simulation: Simulation, way: Way
) -> tuple[str, dict[str, Any]]:
    """Carry the plan out, or go on with it; the run's id and what is known beside its report.

    `home` is initialised and marked (settings.settle).

    Raises:
        RunFailed: it ended before its last round; the same command goes on.
        ConfigError, DataError, NotInstalled, TransportError: nothing was begun.
    """
    config = load_config(home)
    records.part(home, simulation)
    _check_memory(home, plan, simulation, way)
    lock = exclusive_lock(home / "serve.lock", held_by="coordinator simulate")
    with lock, Store.open(home) as store:
        return _Simulated(home, config, store, plan, simulation, way).run()


def _check_memory(home: Path, plan: Plan, simulation: Simulation, way: Way) -> None:
    """On a cluster each machine has memory of its own, which nobody here can ask for."""
    if way.ray not in {None, NO_RAY}:
        return
    task = registry.load(find_task(plan))
    parameters = count(task.tensors(task.parse_options(plan.task.options)))
    size = sum(path.stat().st_size for path in (home / "data").rglob("*") if path.is_file())
    workers = 1 if way.ray == NO_RAY else min(ray_workers.processors(), simulation.agents)
    memory.check(simulation.agents, workers, parameters, _UNPACKED * size)


_UNPACKED = 8  # times the bytes of a record on the disk


class _Simulated:
    """One life of the process."""

    def __init__(  # noqa: PLR0917 - what simulate() has settled
        self,
        home: Path,
        config: CoordinatorConfig,
        store: Store,
        plan: Plan,
        simulation: Simulation,
        way: Way,
    ) -> None:
        self._home, self._config, self._store = home, config, store
        self._plan, self._simulation, self._way = plan, simulation, way
        self._stop = threading.Event()

    def run(self) -> tuple[str, dict[str, Any]]:
        run, taken = submit(self._store, self._plan, simulated=True)
        if taken is Taken.FINISHED:
            self._way.say(f"run {run.run_id} of this plan was simulated before; this is its report")
            return run.run_id, read_facts(self._home, run.run_id)
        if taken is Taken.QUARANTINED:
            raise RunClosed(f"run {run.run_id} is quarantined: {run.reason}; change the plan")
        with _until_stopped(self._stop), contextlib.closing(self._workers()) as workers:
            transport = SimulatedTransport(
                workers,
                enrolment.device_homes(self._home, self._simulation),
                dropout=self._way.dropout,
                seed=self._simulation.seed,
            )
            fleet = enrolment.Fleet(
                self._home, self._config, self._store, self._simulation, self._plan
            )
            enrolment.enrol(fleet, transport, self._stop, quiet=self._way.quiet)
            self._execute(run, transport, workers)
            facts = self._facts(run, transport, workers)
        self._check(self._store.run(run.run_id))
        return run.run_id, facts

    def _workers(self) -> Workers:
        if self._way.ray == NO_RAY:
            return LocalWorkers()
        return ray_workers.RayWorkers(self._way.ray, self._simulation.agents)

    def _execute(self, run: Run, transport: SimulatedTransport, workers: Workers) -> None:
        store, kind = self._store, RoundMachine if self._simulation.secagg == "real" else SumMachine

        def surroundings(events: EventLog) -> Surroundings:
            return Surroundings(
                transport=transport,
                events=events,
                clock=SystemClock(),
                stop=self._stop,
                names={agent.agent_id: agent.name for agent in store.agents()},
                note_head=functools.partial(execution.keep_newest_head, store),
                housekeeping=lambda: None,
                machine=kind,
                patience=max(1.0, self._simulation.agents / workers.count),
            )

        execution.Execution(
            self._home,
            store,
            signer=Identity.load(identity_path(self._home)),
            progress=Progress(),
            watch=self._watch,
            surroundings=surroundings,
            quiet=self._way.quiet,
        ).execute(run)

    def _watch(self, line: EventLine) -> None:
        if line.event == Event.ROUND_COMMIT:
            last = self._store.last_committed(line.run)
            figures = {} if last is None else last.metrics
            told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            took = (line.dur_ms or 0) / 1000
            self._way.say(
                f"round {line.round} of {self._plan.rounds.count}: {told or 'committed'} in {took:.1f} s"
            )
        elif line.event == Event.ROUND_ABORT:
            self._way.say(f"round {line.round}: attempt {line.attempt} aborted ({line.reason})")

    def _facts(self, run: Run, transport: SimulatedTransport, workers: Workers) -> dict[str, Any]:
        """What the devices' ledgers and processes say at the end; kept beside the run's report."""
        seats = range(self._simulation.agents)
        told = transport.manage({seat: {"ask": "budget"} for seat in seats})
        rows = self._store.rounds(run.run_id)
        worked = [each["seconds"] / each["rounds"] for each in told.values() if each["rounds"]]
        each_s = sum(worked) / len(worked) if worked else 0.0
        found = forecast(rows, each_s, workers.count, self._way.fleet)
        known = read_facts(self._home, run.run_id)
        facts = {
            **self._simulation.model_dump(mode="json"),
            "dropout": self._way.dropout,
            "epsilon": _most(told, "epsilon"),
            "epsilon_sum": _most(told, "epsilon_sum"),
            "memory": max(transport.memory, int(known.get("memory", 0))),
            "workers": workers.count,
            "device_seconds": round(each_s, 4) or known.get("device_seconds", 0.0),
            "fleet": asdict(self._way.fleet),
            "forecast": None if found is None else found.as_json(self._plan.rounds.count),
        }
        text = json.dumps(facts, indent=1).encode() + b"\n"
        write_atomic(self._home / "runs" / run.run_id / FACTS, text)
        return facts

    def _check(self, run: Run) -> None:
        """Raise RunFailed unless it is finished."""
        if run.state is RunState.FINISHED:
            return
        done = sum(row.outcome is Outcome.COMMITTED for row in self._store.rounds(run.run_id))
        why = run.reason or "interrupted"
        failure = self._store.failure(run.run_id)
        kind = RunFailed if failure is None else CAUSES.get(failure.code, RunFailed)
        raise kind(
            f"simulated run {run.run_id} ended after {done} of {self._plan.rounds.count} rounds: {why}"
            + ("" if run.state is RunState.QUARANTINED else "; the same command goes on from there")
        )


def read_facts(home: Path, run_id: str) -> dict[str, Any]:
    """What _facts() kept of a run; empty before."""
    path = home / "runs" / run_id / FACTS
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def _most(told: dict[int, dict[str, Any]], key: str) -> float | None:
    """Of any device; None where nothing bounds it."""
    values = [each[key] for each in told.values()]
    return None if None in values else max(values)


@contextlib.contextmanager
def _until_stopped(stop: threading.Event) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the run where it can go on; a second one breaks off what is under way."""

    def ask(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
