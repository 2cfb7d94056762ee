"""The federation key at work beside a running coordinator: `coordinator roster sign --watch`.

In one-machine mode `coordinator serve` starts it as a process of its own, so that the process the
network can reach never opens the key. Both run on one machine, though: whoever takes that over has
the key, and with it the power to admit members.
"""

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgeveil.coordinator.flower_runtime.child_process import guarded
from edgeveil.coordinator.machine.transport import Log
from edgeveil.coordinator.serving.admin_client import call
from edgeveil.shared.base.errors import EdgeveilError, EnrollmentError, TransportError
from edgeveil.shared.events.log import Event

WAIT_S = 20.0  # the coordinator answers earlier when somebody joins, is approved or revoked
PAUSE_S = 2.0
RESTART_S = 10.0


def watch(
    home: Path, sign: Callable[[bytes], bytes], say: Callable[[str], None], stop: threading.Event
) -> None:
    """Sign every roster the coordinator of `home` is due, until `stop` is set.

    Raises:
        EnrollmentError: the key is not this federation's.
    """
    said = ""
    while not stop.is_set():
        try:
            status = _sign_one(home, sign, say)
        except EnrollmentError:
            raise
        except EdgeveilError as error:
            status = f"{error}; trying again"
        if status and status != said:
            say(status)
        said = status
        if status:
            stop.wait(PAUSE_S)


def _sign_one(home: Path, sign: Callable[[bytes], bytes], say: Callable[[str], None]) -> str:
    """Wait for a roster to be due and sign it; a sentence when that is not possible now."""
    answer = call(home, "roster-wanted", wait_s=WAIT_S)
    if answer is None:
        return f"no coordinator is serving {home}; waiting for it"
    if answer["candidate"] is not None:
        signed = sign(str(answer["candidate"]).encode())
        imported = call(home, "roster-import", signed=signed.decode())
        if imported is None:
            raise TransportError(f"no coordinator is serving {home} any more")
        say(f"signed roster epoch {imported['epoch']}")
    return ""


@dataclass(eq=False)
class SignerProcess:
    """`roster sign --watch` as a child; used from the main thread."""

    home: Path
    federation: Path
    log: Log
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _start_at: float = field(default=0.0, init=False)

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def keep_alive(self, now: float) -> None:
        """Start it when it does not run; at most once in ten seconds. `now` is monotonic."""
        if self._child is not None and self._child.poll() is not None:
            self.log(Event.SIGNER_STOP, level="error")
            self._child = None
        if self._child is None and now >= self._start_at:
            self._start_at = now + RESTART_S
            self._child = self._spawn()
            self.log(Event.SIGNER_START)

    def stop(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.kill()  # it holds nothing that is not on the disk
            self._child.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = "from edgeveil.coordinator.cli.app import main; main()"
        command = guarded(sys.executable, "-P", "-c", program, "roster", "sign", "--watch")
        command += ["--home", str(self.home), "--federation", str(self.federation)]
        return subprocess.Popen(  # noqa: S603 - our own interpreter and paths, no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
