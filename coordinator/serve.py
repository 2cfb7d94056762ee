"""`coordinator serve`: the composition root. Everything is made here, started in order, stopped in reverse.

Order (docs/design.md, "Processes"): lock → database → certificates → public listener (503 until it
has somebody to forward to) → SuperLink and its run → admin socket → runs, one after another, on this
main thread. The federation key is not among the things it opens: in one-machine mode that is a
child's business (coordinator.signer).
"""

import contextlib
import json
import logging
import os
import queue
import signal
import threading
from pathlib import Path
from typing import Any

from coordinator.admin import AdminServer
from coordinator.admin_client import SOCKET
from coordinator.attempt import Stopped, Surroundings
from coordinator.certificate_keeper import CertificateKeeper
from coordinator.child_process import raise_file_limit
from coordinator.commands import candidate_of, import_into, keys_of, status_of, tokens_of
from coordinator.config import CoordinatorConfig, Plan, load_config, load_plan
from coordinator.driver import Driver, Progress
from coordinator.enrollment import JoinDesk
from coordinator.flower_runtime import FlowerRuntime
from coordinator.follow import size
from coordinator.gateway import Gateway
from coordinator.lookout import Lookout
from coordinator.membership import agents_of, change_in
from coordinator.records import Run, RunState
from coordinator.reports import build
from coordinator.roster_files import is_due
from coordinator.runs import open_run, submit
from coordinator.setup import identity_path
from coordinator.signer import WAIT_S, SignerProcess
from coordinator.store import Store
from coordinator.transport import Member
from shared.clock import SystemClock
from shared.config import validate
from shared.errors import EdgeveilError, RunLost, TransportError
from shared.event_log import Event, EventLog, Level
from shared.failpoints import Failpoint, failpoint
from shared.files import exclusive_lock, private_directory, write_atomic
from shared.identity import Identity
from shared.privacy.heads import SignedHead
from shared.standing import installed_tasks
from shared.telling import say

IDLE_S = 0.5
REVIVAL_S, MOST_REVIVALS = 60.0, 3  # SuperLinks that may die within so many seconds
INFO: Level = "info"
ERROR: Level = "error"


def serve(home: Path, plan: Path | None, *, plain_http: bool = False, quiet: bool = False) -> None:
    """Run until SIGINT or SIGTERM; raises what makes it impossible to start or go on.

    `plain_http`: a proxy on this machine does TLS; refused unless the address is loopback.
    """
    config = load_config(home)
    queued = load_plan(plan) if plan is not None else None
    with exclusive_lock(home / "serve.lock", held_by="coordinator serve"):
        coordinator = Coordinator(home, config, quiet=quiet)
        try:
            coordinator.start(plain_http=plain_http)
            if queued is not None:
                submit(coordinator.store, queued)
                for notice in queued.notices:
                    say(f"warning: {notice}", level="warning")
            coordinator.work()
        finally:
            coordinator.stop()


class Coordinator:
    """One serving process. Used from the main thread; the admin and gateway threads only call handlers."""

    def __init__(self, home: Path, config: CoordinatorConfig, *, quiet: bool = False) -> None:
        self.home = home
        self.config = config
        self.clock = SystemClock()
        self.halt = threading.Event()
        self.store = Store.open(home)
        self.lookout = Lookout(home, config, self.store, quiet=quiet)
        self.events = EventLog(home / "events.jsonl", watch=self.lookout.take)
        self.progress = Progress()
        self.names: dict[bytes, str] = {}
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._roster_changed = threading.Event()
        # Held from reading or changing the roster to telling the gateway, so that no older list
        # overtakes a newer one and nobody is told of a membership the gateway does not know yet.
        self._roster_lock = threading.RLock()
        self._identity = Identity.load(identity_path(home))
        self._desk = JoinDesk(self.store, keys_of(home, config), events=self.events)
        self._roster_due = threading.Event()  # somebody joined, was approved or revoked
        self.gateway = Gateway(
            join=self._join, ready=self._is_ready, log=self._log, about=self._about
        )
        self.runtime = self._new_runtime()
        self._revivals: list[float] = []
        self._admin: AdminServer | None = None
        self._certificates = CertificateKeeper(
            home,
            config,
            reload=self.gateway.reload,
            log=self._log,
            say=self._say,
            clock=self.clock,
        )
        self._signer: SignerProcess | None = None
        if config.federation_folder is not None:
            self._signer = SignerProcess(home, config.federation_folder, self._log)

    def start(self, *, plain_http: bool) -> None:
        """Start everything in order; raises ConfigError for a busy port, TransportError for SuperLink."""
        raise_file_limit()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        logging.getLogger("edgeveil").addHandler(logging.NullHandler())
        files = None if plain_http else self._certificates.first()
        host, port = self.config.address
        self._apply_roster()
        self.gateway.start(host, port, files)
        self.runtime.start()
        self._register_members()
        self._admin = AdminServer(self.home / SOCKET, self._handlers())
        self._admin.start()
        self.lookout.start(self.gateway, self._superlink_alive, files)
        self._roster_changed.set()  # one imported while we were starting went past us
        self.events.emit(Event.COORDINATOR_START)
        how = " in plain HTTP" if plain_http else ""
        self._say(f"coordinator listening{how} on {host}:{self.gateway.port} for {self.config.url}")
        if self.lookout.url is not None:
            self._say(f"page {self.lookout.url}")
        if self._signer is not None:
            self._signer.keep_alive(self.clock.monotonic())
            self._say(
                "one-machine mode: a signer process admits whoever joins with a token; whoever takes "
                "this machine over can admit members of their own (docs/threat-model.md)"
            )

    def stop(self) -> None:
        """Public listener first, then the Flower run and its process, then our own files."""
        for close in (
            self.lookout.stop,
            self._stop_admin,
            self.gateway.stop,
            self.runtime.stop,
            lambda: self.events.emit(Event.COORDINATOR_STOP, sync=True),
            self.events.close,
            self.store.close,
        ):
            with contextlib.suppress(EdgeveilError):
                close()

    def work(self) -> None:
        """Take queued and unfinished runs, oldest first, until a signal comes."""
        while not self.halt.is_set():
            try:
                self._work_once()
            except TransportError as error:
                self._revive_superlink(error)

    def _work_once(self) -> None:
        self.housekeeping()
        run = self._next_run()
        if run is not None:
            self._execute(run)
        else:
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=IDLE_S)

    def _revive_superlink(self, error: TransportError) -> None:
        """SuperLink's state is a cache: a new process takes its place, the run goes on by itself.

        Raises the error when that has not helped for the third time within a minute.
        """
        now = self.clock.monotonic()
        self._revivals = [at for at in self._revivals if now - at < REVIVAL_S] + [now]
        if len(self._revivals) >= MOST_REVIVALS:
            raise error
        say(f"{error}; starting another", level="warning")
        self.runtime.stop()
        self.runtime = self._new_runtime()
        self.runtime.start()
        self._register_members()

    def _superlink_alive(self) -> bool:
        return self.runtime.alive()

    def _new_runtime(self) -> FlowerRuntime:
        return FlowerRuntime(private_directory(self.home / "runtime"), self.gateway, self._log)

    def housekeeping(self) -> None:
        """What must happen now and then on the main thread, also in the middle of a round."""
        if self._roster_changed.is_set():
            self._roster_changed.clear()
            self._apply_roster()
            self._register_members()
        self._certificates.check()
        if self._signer is not None:
            self._signer.keep_alive(self.clock.monotonic())
        if not self.runtime.alive():
            raise TransportError("Flower's SuperLink process has ended")

    def _next_run(self) -> Run | None:
        waiting = (RunState.QUEUED, RunState.RUNNING, RunState.STOPPED)
        return next((run for run in self.store.runs() if run.state in waiting), None)

    def _execute(self, run: Run) -> None:
        """One run to its end; a failed one is recorded and the coordinator goes on."""
        self.progress.run, self.progress.stage = run.run_id, "opening"
        self.store.set_run_state(run.run_id, RunState.RUNNING)
        self.store.abandon_open_attempts(run.run_id, "COORDINATOR_RESTART")
        folder = private_directory(self.home / "runs" / run.run_id)
        # What is said of a run that ends in a way nobody foresaw: it can be continued.
        state, event, level, reason = RunState.STOPPED, Event.RUN_STOP, ERROR, ""
        with EventLog(folder / "events.jsonl", watch=self.lookout.take) as events:
            try:
                reason = self._drive(run, events)
                state, event, level = RunState.FINISHED, Event.RUN_FINISH, INFO
            except Stopped:
                level = INFO
            except TransportError:
                raise
            except EdgeveilError as error:
                state = RunState.LOST if isinstance(error, RunLost) else RunState.FAILED
                event, reason = Event.RUN_FAIL, str(error)
                say(f"run {run.run_id} failed: {error}", level="error")
            finally:
                self.store.set_run_state(run.run_id, state, reason)
                self._save_report(run.run_id, folder)
                events.emit(event, level=level, run=run.run_id, sync=True)
                self.progress.run, self.progress.round, self.progress.stage = None, None, "idle"

    def _drive(self, run: Run, events: EventLog) -> str:
        """Why the run ended before its last round, or ""."""
        opened, learned, first = open_run(self.store, self.home, run)
        events.emit(
            Event.RUN_START if first == 1 else Event.RUN_RESUME, run=run.run_id, round=first
        )
        around = Surroundings(
            transport=self.runtime,
            events=events,
            clock=self.clock,
            stop=self.halt,
            names=self.names,
            note_head=self._note_head,
            housekeeping=self.housekeeping,
        )
        driver = Driver(
            opened,
            learned,
            store=self.store,
            signer=self._identity,
            around=around,
            progress=self.progress,
        )
        return driver.drive(first)

    def _save_report(self, run_id: str, folder: Path) -> None:
        report = build(self.store.run(run_id), self.store.rounds(run_id), folder)
        write_atomic(folder / "report.json", json.dumps(report, indent=2).encode())

    def _note_head(self, agent: bytes, head: SignedHead) -> None:
        """Keep the highest head an agent signed per data set; it is echoed with the next offer."""
        known = self.store.ledger_head(agent)
        if known:
            before = SignedHead.decode(known)
            if before.dataset == head.dataset and before.seq > head.seq:
                return
        self.store.set_ledger_head(agent, head.encode())

    def _apply_roster(self) -> None:
        """Tell the gateway who may connect, and who is to hear that it was revoked."""
        with self._roster_lock:
            everybody = self.store.agents(include_revoked=True)
            self.names.update({agent.agent_id: agent.name for agent in everybody})
            revoked = frozenset(a.node_public for a in everybody if a.revoked is not None)
            failpoint(Failpoint.COORDINATOR_ROSTER_BEFORE)
            self.gateway.set_members(self._members(), revoked)
            failpoint(Failpoint.COORDINATOR_ROSTER_AFTER)

    def _register_members(self) -> None:
        with self._roster_lock:
            self.runtime.set_members(self._members())

    def _members(self) -> list[Member]:
        """Who may connect, read now; nobody connects whose name is not known."""
        agents = self.store.members()
        self.names.update({agent.agent_id: agent.name for agent in agents})
        return [
            Member(agent.agent_id, agent.name, agent.identity_public, agent.node_public)
            for agent in agents
        ]

    def _handlers(self) -> dict[str, Any]:
        return {
            "status": lambda _: self._status(),
            "submit": self._submit,
            "invite": self._invite,
            "roster-export": lambda asked: candidate_of(
                self.store, self.config, asked.get("epoch")
            ),
            "roster-import": self._import_roster,
            "roster-wanted": self._roster_wanted,
            "agents": lambda _: {"agents": agents_of(self.store, self.gateway.presence())},
            "agents-change": self._change_agents,
            "stop": lambda _: self._ask_to_stop(),
        }

    def _ask_to_stop(self) -> dict[str, Any]:
        self.halt.set()
        self._wake.put(None)
        return {"pid": os.getpid()}

    def _status(self) -> dict[str, Any]:
        presence = self.gateway.presence()
        found = status_of(self.store, self.home, self.config, presence)
        progress = self.progress
        return found | {
            "pid": os.getpid(),
            "superlink_pid": self.runtime.superlink_pid,
            "port": self.gateway.port,
            "page": self.lookout.url,
            "live": self.lookout.live.now().as_json(),
            "run": progress.run,
            "round": progress.round,
            "stage": progress.stage,
        }

    def _submit(self, asked: dict[str, Any]) -> dict[str, Any]:
        plan = validate(asked["plan"], Plan, source="plan")
        run, new = submit(self.store, plan)
        seen = size(self.home / "runs" / run.run_id / "events.jsonl")
        self.events.emit(Event.RUN_CREATE if new else Event.RUN_RESUME, run=run.run_id)
        self._wake.put(None)
        return {
            "run": run.run_id,
            "new": new,
            "rounds": plan.rounds.count,
            "log_size": seen,
            "warnings": list(plan.notices),
        }

    def _invite(self, asked: dict[str, Any]) -> dict[str, Any]:
        hold = bool(asked["hold"])
        tokens = tokens_of(
            self.store, self.home, self.config, asked["names"], asked["ttl_s"], hold=hold
        )
        for name in tokens:
            self.events.emit(Event.INVITE_CREATE, agent=name)
        return dict(tokens)

    def _import_roster(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._roster_lock:
            epoch = import_into(self.store, self.config, asked["signed"].encode())
            self._apply_roster()
        self.events.emit(Event.ROSTER_IMPORT, sync=True)
        self._roster_changed.set()
        self._wake.put(None)
        return {"epoch": epoch}

    def _change_agents(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A revoked agent is cut off before the operator's command returns."""
        with self._roster_lock:
            change_in(self.store, self.events, asked["change"], asked["names"], asked["new"])
            self._apply_roster()
        self._roster_changed.set()
        self._roster_due.set()
        return {}

    def _roster_wanted(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The next roster once it is due, or null after `wait_s` seconds; for the signer."""
        self._roster_due.wait(min(float(asked["wait_s"]), WAIT_S))
        self._roster_due.clear()
        if self.halt.is_set() or not is_due(self.store):
            return {"candidate": None}
        return candidate_of(self.store, self.config)

    def _join(self, body: bytes, address: str) -> tuple[int, dict[str, object]]:
        with self._roster_lock:
            status, answer = self._desk.handle(body, address)
        if answer.get("state") == "pending":
            self._roster_due.set()
        return status, answer

    def _is_ready(self) -> bool:
        return self.runtime.alive() and not self.halt.is_set()

    def _about(self) -> dict[str, object]:
        """What any member may ask, for its doctor."""
        signed, run = self.store.roster(), self._next_run()
        plan = None if run is None else Plan.model_validate_json(run.plan).task
        return {
            "epoch": 0 if signed is None else signed.roster.epoch,
            "tasks": [task.model_dump() for task in installed_tasks()],
            "plan": None if plan is None else plan.model_dump(),
        }

    def _log(
        self, event: Event, *, level: Level = "info", agent: str = "", reason: str = ""
    ) -> None:
        """For the gateway's and SuperLink's threads: a full disk must not end a connection."""
        with contextlib.suppress(OSError):
            self.events.emit(event, level=level, agent=agent, reason=reason)

    def _on_signal(self, _number: int, _frame: object) -> None:
        """The first signal drains; the second ends the process (and with it SuperLink) at once."""
        if self.halt.is_set():
            os._exit(130)
        self.halt.set()
        self._wake.put(None)

    @staticmethod
    def _say(sentence: str) -> None:
        say(sentence)

    def _stop_admin(self) -> None:
        self.halt.set()
        self._roster_due.set()  # ends the signer's held request
        if self._signer is not None:
            self._signer.stop()
        if self._admin is not None:
            self._admin.stop()
