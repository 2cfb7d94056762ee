"""Simulated devices in the actors of Flower's simulation engine, on this machine's Ray or on a cluster.

Flower's own pool gives each message to whichever actor is idle. A device holds keys from one stage to the next, so
here each has its actor, and an actor gets one message at a time: what waits does not fill Ray's object store.
"""

import contextlib
import importlib
import importlib.util
import logging
import os
import socket
from collections import deque
from importlib.metadata import version
from typing import Any

from edgeveil.shared.flower import (
    environment as flower_environment,  # first: Flower reads its switches at import
)

# isort: split
from flwr.app import Context, Message

from edgeveil.coordinator.simulation.workers import load_app
from edgeveil.shared.base.errors import ConfigError, NotInstalled, TransportError

RAY = "2.55.1"  # what Flower 1.41's simulation engine is pinned to
REACH_S = 5.0
STORE_BYTES = 256 << 20
SWITCHES = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would report to its maker
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def processors() -> int:
    """Of this machine, for whoever starts Ray here."""
    return os.cpu_count() or 1


def check_installed() -> None:
    """Raises NotInstalled where Ray is absent or another version."""
    extra = 'pip install "edgeveil[simulate]"'
    if importlib.util.find_spec("ray") is None:
        raise NotInstalled(
            "a simulation runs on Ray, which is not installed (few devices need none: --ray off)",
            extra,
        )
    if (found := version("ray")) != RAY:
        raise NotInstalled(
            f"Ray {found} is installed, Flower's simulation engine takes {RAY}", extra
        )


class RayWorkers:
    """`address` of a cluster whose machines see the run's folder under the same path; without one, Ray starts here."""

    def __init__(self, address: str | None, seats: int) -> None:
        """Raises NotInstalled, TransportError."""
        check_installed()
        os.environ.update(SWITCHES)
        self._ray: Any = importlib.import_module("ray")  # a second, and only where it is used
        self._start(address)
        from flwr.simulation.ray_transport.ray_actor import ClientAppActor  # noqa: PLC0415 - imports ray

        self._kind: Any = ClientAppActor
        processors = int(self._ray.cluster_resources().get("CPU", 1))
        self.count = max(1, min(processors, seats))
        self._actors = [self._actor() for _ in range(self.count)]
        self._waiting: list[deque[tuple[int, Message, Context]]] = [
            deque() for _ in range(self.count)
        ]
        self._running: dict[Any, tuple[int, int]] = {}  # future → seat, actor
        self._unwanted: set[Any] = set()  # of these

    def submit(self, seat: int, message: Message, context: Context) -> None:
        place = seat % self.count
        self._waiting[place].append((seat, message, context))
        if all(busy != place for _, busy in self._running.values()):
            self._next(place)

    def collect(self, timeout_s: float) -> list[tuple[int, Message | None]]:
        if not self._running:
            return []
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        answered = []
        for future in ready:
            seat, place = self._running.pop(future)
            answer = self._answer(future, place)
            if future in self._unwanted:
                self._unwanted.discard(future)
            else:
                answered.append((seat, answer))
            self._next(place)
        return answered

    def forget(self) -> None:
        for waiting in self._waiting:
            waiting.clear()
        self._unwanted = set(self._running)

    def close(self) -> None:
        """Ends what was started here; of a cluster only our own actors."""
        for actor in self._actors:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
        self._ray.shutdown()

    def _start(self, address: str | None) -> None:
        flags: dict[str, Any] = {"address": address} if address else {
            "num_cpus": processors(),
            "object_store_memory": STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            "include_dashboard": False,
        }  # fmt: skip
        names = ("PYTHONPATH", "OMP_NUM_THREADS", "EDGEVEIL_HOME")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        seen = {"OMP_NUM_THREADS": "1", **kept, **SWITCHES, **flower_environment.SET}
        if address:
            _reach(address)
        try:
            self._ray.init(
                runtime_env={"env_vars": seen},
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                **flags,
            )
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
            self._ray.shutdown()
            where = f"of the cluster at {address} " if address else ""
            first = str(error).strip().partition("\n")[0]
            raise TransportError(
                f"Ray {where}cannot be reached ({first}); check --ray, or start one with: ray start --head"
                if address
                else f"Ray does not start on this machine ({first}); few devices need none: --ray off"
            ) from error

    def _actor(self) -> Any:
        return self._kind.options(num_cpus=1, max_restarts=0).remote()

    def _next(self, place: int) -> None:
        if self._waiting[place]:
            seat, message, context = self._waiting[place].popleft()
            future = self._actors[place].run.remote(load_app, message, str(seat), context)
            self._running[future] = seat, place

    def _answer(self, future: Any, place: int) -> Message | None:
        """None if its process has died: another takes its place, whose devices go on from their homes."""
        try:
            _, reply, _ = self._ray.get(future)
        except self._ray.exceptions.RayActorError:
            self._actors[place] = self._actor()
            return None
        except self._ray.exceptions.RayError as error:
            raise TransportError(
                f"Ray has lost what a worker did ({type(error).__name__})"
            ) from error
        return reply if isinstance(reply, Message) else None


def _reach(address: str) -> None:
    """Raise TransportError unless something listens there: Ray itself would try for ten minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise ConfigError(f"--ray {address}: must be HOST:PORT of a cluster's head, or off")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise TransportError(
            f"--ray {address}: nothing answers there ({error}); start one with: ray start --head"
        ) from error
