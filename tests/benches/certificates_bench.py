"""A certificate authority of an operator's own, with leaves of any age and name."""

import time
from pathlib import Path

from enrollment_bench import TurnableClock

from edgeveil.coordinator.federation.certificates import ensure_authority, ensure_leaf
from edgeveil.coordinator.plan.config import CoordinatorConfig

DAY = 86_400.0


class Operator:
    """folder/ca.pem is the root; deploy() puts a fresh leaf where coordinator.toml points."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca"
        self.clock = TurnableClock(time.time())
        ensure_authority(self.ca, clock=self.clock)
        self.certificate, self.key = folder / "fullchain.pem", folder / "privkey.pem"
        self.deploy()

    def deploy(self, *hosts: str, days: float = 0.0) -> bytes:
        """A new leaf for these hosts, issued `days` from now; its PEM without the root."""
        self.clock.seconds = time.time() + days * DAY
        for old in (self.ca / "server.pem", self.ca / "server.key"):
            old.unlink(missing_ok=True)
        chain, key = ensure_leaf(self.ca, hosts or ("127.0.0.1",), clock=self.clock)
        end = b"-----END CERTIFICATE-----\n"
        leaf = chain.read_bytes().split(end)[0] + end
        for path, content in ((self.key, key.read_bytes()), (self.certificate, leaf)):
            fresh = path.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_bytes(content)
            fresh.replace(path)
        return leaf

    @property
    def values(self) -> dict[str, str]:
        return {
            "certificate": str(self.certificate),
            "certificate_key": str(self.key),
            "authority": str(self.ca / "ca.pem"),
        }

    def config(self, host: str = "127.0.0.1") -> CoordinatorConfig:
        url = f"https://{host}:8443"
        return CoordinatorConfig(url=url, federation_public="0" * 64, **self.values)

    def toml(self) -> str:
        return "".join(f'{key} = "{value}"\n' for key, value in self.values.items())
