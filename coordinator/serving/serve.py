"""`coordinator serve`: the composition root. Everything is made here, started in order, stopped in reverse.

Order (docs/design.md, "Processes"): lock → database → certificates → public listener (503 until it
has somebody to forward to) → SuperLink and its run → admin socket → runs, one after another, on this
main thread. The federation key is not among the things it opens: in one-machine mode that is a
child's business (coordinator.serving.signer).
"""

import contextlib
import functools
import logging
import os
import queue
import signal
import threading
from pathlib import Path
from typing import Any

from edgeveil.coordinator.federation.certificate_keeper import CertificateKeeper
from edgeveil.coordinator.federation.enrollment import JoinDesk
from edgeveil.coordinator.federation.membership import agents_of, keys_of
from edgeveil.coordinator.flower_runtime.child_process import raise_file_limit
from edgeveil.coordinator.flower_runtime.runtime import FlowerRuntime
from edgeveil.coordinator.gateway.server import Gateway
from edgeveil.coordinator.models.publishing import ModelShelf
from edgeveil.coordinator.plan.config import (
    CoordinatorConfig,
    identity_path,
    load_config,
    refuse_simulated,
)
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.runs.initial import notices
from edgeveil.coordinator.runs.open_run import Progress
from edgeveil.coordinator.runs.runs import Taken, submit
from edgeveil.coordinator.serving import (
    admin,
    admin_client,
    execution,
    plan_checks,
    roster_keeper,
    signer,
)
from edgeveil.coordinator.serving import answers as handlers
from edgeveil.coordinator.serving.status import status_of
from edgeveil.coordinator.store.store import Store
from edgeveil.coordinator.watching.watchers import Lookout
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import EdgeveilError, StateDamaged, TransportError
from edgeveil.shared.base.files import exclusive_lock, private_directory
from edgeveil.shared.events.log import Event, EventLog, Level
from edgeveil.shared.tasks.own import shelf
from edgeveil.shared.terminal.telling import say
from edgeveil.shared.wire.identity import Identity

IDLE_S = 0.5
REVIVAL_S, MOST_REVIVALS = 60.0, 3  # SuperLinks that may die within so many seconds


def serve(
    home: Path,
    plan: Path | None,
    *,
    again: bool = False,
    plain_http: bool = False,
    quiet: bool = False,
) -> None:
    """Run until SIGINT or SIGTERM; raises what makes it impossible to start or go on.

    `again`: train by `plan` also when that was carried out before. `plain_http`: a proxy on this machine
    does TLS; refused unless the address is loopback.
    """
    refuse_simulated(home)
    config = load_config(home)
    queued = load_plan(plan) if plan is not None else None
    with exclusive_lock(home / "serve.lock", held_by="coordinator serve"):
        coordinator = Coordinator(home, config, quiet=quiet)
        try:
            coordinator.start(plain_http=plain_http)
            if queued is not None:
                coordinator.take(queued, again=again)
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
        self.store = Store.open(home, serving=True)
        self.progress = Progress()
        self.lookout = Lookout(home, config, self.store, self.progress, quiet=quiet)
        self.events = EventLog(home / "events.jsonl", watch=self.lookout.take)
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        identity = Identity.load(identity_path(home))
        self.roster = roster_keeper.RosterKeeper(
            self.store,
            config,
            desk=JoinDesk(self.store, keys_of(home, config), events=self.events),
            events=self.events,
            wake=self._wake_up,
        )
        self.shelf = ModelShelf(home)
        self.gateway = Gateway(
            join=self.roster.join,
            ready=self._is_ready,
            log=self._log,
            about=lambda: handlers.about(self.store, self._execution.next_run()),
            shelf=self.shelf,
        )
        self.runtime = self._new_runtime()
        self._execution = execution.Execution(
            home,
            self.store,
            signer=identity,
            progress=self.progress,
            watch=self.lookout.take,
            surroundings=self._surroundings,
            quiet=quiet,
        )
        self._checks = plan_checks.PlanChecks(self.store, identity, self.progress)
        self._revivals: list[float] = []
        self._admin: admin.AdminServer | None = None
        self._certificates = CertificateKeeper(
            home, config, reload=self.gateway.reload, log=self._log, say=say, clock=self.clock
        )
        self._signer: signer.SignerProcess | None = None
        if config.federation_folder is not None:
            self._signer = signer.SignerProcess(home, config.federation_folder, self._log)

    def start(self, *, plain_http: bool) -> None:
        """Start everything in order; raises ConfigError for a busy port, TransportError for SuperLink."""
        raise_file_limit()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        logging.getLogger("edgeveil").addHandler(logging.NullHandler())
        files = None if plain_http else self._certificates.first()
        host, port = self.config.address
        self.roster.apply(self.gateway)
        self.gateway.start(host, port, files)
        self.runtime.start()
        self._register_members()
        self._admin = admin.AdminServer(self.home / admin_client.SOCKET, self._handlers())
        self._admin.start()
        self.lookout.start(self.gateway, self._superlink_alive, files)
        self.roster.changed.set()  # one imported while we were starting went past us
        self.events.emit(Event.COORDINATOR_START)
        how = " in plain HTTP" if plain_http else ""
        say(f"coordinator listening{how} on {host}:{self.gateway.port} for {self.config.url}")
        if self.lookout.url is not None:
            say(f"page {self.lookout.url}")
        if self._signer is not None:
            self._signer.keep_alive(self.clock.monotonic())
            say(
                "one-machine mode: a signer process admits whoever joins with a token; whoever takes "
                "this machine over can admit members of their own (docs/threat-model.md)"
            )

    def take(self, plan: Plan, *, again: bool) -> None:
        """Queue the plan that the process was started with, unless it was carried out before."""
        run, taken = submit(self.store, plan, again=again)
        if taken is Taken.FINISHED:
            ended = handlers.how_it_ended(self.store, self.home, run)
            say(f"{ended}; serving on without it, --again trains once more")
            return
        if taken is Taken.QUARANTINED:
            say(
                f"run {run.run_id} of this plan is quarantined: {run.reason}; serving on without it, "
                "--again continues it once the cause is mended",
                level="error",
            )
            return
        told = (*plan.notices, *handlers.too_few(self.store, plan), *notices(self.store, run))
        for notice in told:
            say(f"warning: {notice}", level="warning")

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
        self._checks.answer(self._surroundings(self.events))
        run = self._execution.next_run()
        if run is not None:
            self._execution.execute(run)
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
        if self.roster.changed.is_set():
            self.roster.changed.clear()
            self.roster.apply(self.gateway)
            self._register_members()
        self._certificates.check()
        self._look_at_models()  # also where whoever published was killed before telling us
        if self._signer is not None:
            self._signer.keep_alive(self.clock.monotonic())
        if not self.runtime.alive():
            raise TransportError("Flower's SuperLink process has ended")

    def _surroundings(self, events: EventLog) -> Surroundings:
        return Surroundings(
            transport=self.runtime,
            events=events,
            clock=self.clock,
            stop=self.halt,
            names=self.roster.names,
            note_head=functools.partial(execution.keep_newest_head, self.store),
            housekeeping=self.housekeeping,
        )

    def _register_members(self) -> None:
        with self.roster.lock:
            self.runtime.set_members(self.roster.members())

    def _handlers(self) -> dict[str, Any]:
        return {
            "status": lambda _: self._status(),
            "submit": self._submit,
            "check": self._check,
            "invite": lambda asked: handlers.make_invites(
                self.home, self.store, self.config, self.events, asked
            ),
            "roster-export": self.roster.export,
            "roster-import": lambda asked: self.roster.take(asked, self.gateway),
            "roster-wanted": self.roster.wanted,
            "agents": lambda _: {"agents": agents_of(self.store, self.gateway.presence())},
            "agents-change": lambda asked: self.roster.change(asked, self.gateway),
            "models": lambda _: self._models(),
            "stop": lambda _: self._ask_to_stop(),
        }

    def _look_at_models(self) -> None:
        try:
            if self.shelf.reload():
                self.gateway.models_changed()
        except StateDamaged as error:
            say(f"{error.message}; no model is offered until then", level="error")

    def _models(self) -> dict[str, Any]:
        """After a change: by agent id, what each has fetched and, where its owner tells, uses."""
        self._look_at_models()
        told = self.gateway.models_told()
        return {"told": {agent.hex(): [serial, model] for agent, (serial, model) in told.items()}}

    def _ask_to_stop(self) -> dict[str, Any]:
        self.halt.set()
        self._wake_up()
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
            "waits_for": self.lookout.waiting(found["agents"]).as_json(),
            "run": progress.run,
            "round": progress.round,
            "stage": progress.stage,
        }

    def _check(self, asked: dict[str, Any]) -> dict[str, Any]:
        shelf.use(self.home)  # a task may have been installed since
        return self._checks.ask(asked, self._wake_up)

    def _submit(self, asked: dict[str, Any]) -> dict[str, Any]:
        shelf.use(self.home)
        answer = handlers.take_plan(self.home, self.store, self.events, asked)
        self._wake_up()
        return answer

    def _is_ready(self) -> bool:
        return self.runtime.alive() and not self.halt.is_set()

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
        self._wake_up()

    def _wake_up(self) -> None:
        self._wake.put(None)

    def _stop_admin(self) -> None:
        self.halt.set()
        self._checks.close()
        self.roster.close()
        if self._signer is not None:
            self._signer.stop()
        if self._admin is not None:
            self._admin.stop()
