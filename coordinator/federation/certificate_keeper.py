"""Keeps the gateway's certificate current while it serves; a change never drops a connection."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgeveil.coordinator.federation.certificates import expiry
from edgeveil.coordinator.federation.tls import authority_path, serving_files, stamp
from edgeveil.coordinator.machine.transport import Log
from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.base.errors import EdgeveilError
from edgeveil.shared.events.log import Event

LOOK_S = 5.0  # for new files of the operator
DAY_S = 86_400.0
WARN_DAYS = 14


@dataclass(eq=False)
class CertificateKeeper:
    """Used from the main thread. `reload` takes (chain, key) for new connections."""

    home: Path
    config: CoordinatorConfig
    reload: Callable[[Path, Path], None]
    log: Log
    say: Callable[[str], None]
    clock: Clock
    _stamp: str = field(default="", init=False)
    _shown: bytes = field(default=b"", init=False)
    _look_at: float = field(default=0.0, init=False)
    _renew_at: float = field(default=0.0, init=False)

    def first(self) -> tuple[Path, Path]:
        """What to serve from the start; raises what serving_files() does."""
        chain, key = serving_files(self.home, self.config)
        self._took(chain)
        return chain, key

    def check(self) -> None:
        """Look for new files every few seconds, renew our own leaf once a day."""
        now = self.clock.monotonic()
        if not self._shown or now < self._look_at:
            return  # not serving TLS, or looked just now
        self._look_at = now + LOOK_S
        if now < self._renew_at and stamp(self.config) == self._stamp:
            return
        try:
            chain, key = serving_files(self.home, self.config)
        except EdgeveilError as error:
            self._refuse(error)
            return
        if chain.read_bytes() != self._shown:
            self.reload(chain, key)
            self.log(Event.CERTIFICATE_RENEW)
        self._took(chain)

    def _took(self, chain: Path) -> None:
        self._stamp = stamp(self.config)
        self._shown = chain.read_bytes()
        self._look_at = self.clock.monotonic() + LOOK_S
        self._renew_at = self.clock.monotonic() + DAY_S
        for path in (chain, authority_path(self.home, self.config)):
            self._warn(path)

    def _warn(self, path: Path) -> None:
        days = (expiry(path) - self.clock.wall()) / DAY_S
        if days < WARN_DAYS:
            self.log(Event.CERTIFICATE_EXPIRE, level="warning")
            self.say(f"{path}: expires in {days:.0f} days; agents refuse it from then on. Renew it")

    def _refuse(self, error: EdgeveilError) -> None:
        """Go on with the files in use, and look again when these have changed once more."""
        self._stamp = stamp(self.config)
        self._renew_at = self.clock.monotonic() + DAY_S
        self.log(Event.CERTIFICATE_REFUSE, level="error")
        self.say(f"the new certificate is not used: {error}")
