"""SuperLink as a child process on loopback that cannot outlive us (docs/transport.md, "Start").

It gets a fresh certificate and a fresh secret at every start, so an orphan of an earlier
coordinator that still holds a port can't be mistaken for it. No flwr is imported here.
"""

import collections
import datetime as dt
import ipaddress
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeveil.coordinator.flower_runtime.child_process import guarded
from edgeveil.coordinator.machine.transport import Log
from edgeveil.shared.base.errors import TransportError
from edgeveil.shared.base.files import write_secret
from edgeveil.shared.events.log import Event
from edgeveil.shared.flower.environment import child_environment

LOOPBACK = "127.0.0.1"
_START_S = 30.0
_STOP_S = 5.0
_TAIL_LINES = 20
_PORTS = 3  # one that was free is tried, and seldom taken by somebody until SuperLink has started
_DAYS = 3650  # the certificate lives as long as the process


@dataclass(eq=False)
class SuperLink:
    """Start it from the main thread: the kernel's signal fires when the starting thread ends."""

    folder: Path
    log: Log
    database: str = ":flwr-in-memory:"

    def __post_init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self.secret = b""
        self.certificate = b""
        self.address = ""

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Spawn and wait until it is healthy; raises TransportError after 30 s or when it ends.

        One that found its port taken is spawned again with another.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.secret = secrets.token_bytes(32)
        write_secret(self.folder / "superexec.secret", self.secret)
        self.certificate, key = self_signed()
        write_secret(self.folder / "superlink.crt", self.certificate)
        write_secret(self.folder / "superlink.key", key)
        ports_left = _PORTS
        while not self._is_up_on(_free_port()):
            ports_left -= 1
            if not ports_left or not any("already in use" in line for line in self._tail):
                raise TransportError(
                    f"Flower's SuperLink did not come up on {self.address} within {_START_S:.0f} s; "
                    f"its last words: {' | '.join(self._tail) or 'none'}"
                )
        self.log(Event.SUPERLINK_START)

    def _is_up_on(self, port: int) -> bool:
        """Spawn it there; when it does not become healthy, it is stopped and its last words are read."""
        self._tail.clear()
        self.address = f"{LOOPBACK}:{port}"
        self._child = self._spawn(port)
        write_secret(self.folder / "superlink.pid", f"{self._child.pid}\n".encode("ascii"))
        reader = threading.Thread(target=self._read_output, name="superlink-log", daemon=True)
        reader.start()
        healthy = False
        try:
            healthy = self._becomes_healthy()
        finally:
            if not healthy:
                self.stop()
                reader.join(_STOP_S)
        return healthy

    def stop(self) -> None:
        """SIGTERM, five seconds, SIGKILL. Close every connection to it first."""
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(_STOP_S)
        (self.folder / "superlink.pid").unlink(missing_ok=True)

    def tls(self) -> ssl.SSLContext:
        return trust(self.certificate)

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        folder = self.folder
        program = Path(sys.executable).parent / "flower-superlink"
        command = guarded(str(program), "--host", LOOPBACK, "--port", str(port))
        command += ["--ssl-certfile", str(folder / "superlink.crt")]
        command += ["--ssl-keyfile", str(folder / "superlink.key")]
        command += ["--ssl-ca-certfile", str(folder / "superlink.crt")]
        command += ["--superexec-auth-secret-file", str(folder / "superexec.secret")]
        command += ["--enable-supernode-auth", "--isolation", "process"]
        command += ["--disable-runtime-dependency-installation", "--database", self.database]
        return subprocess.Popen(  # noqa: S603 - our own interpreter and paths, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=child_environment(folder / "flwr"),
            start_new_session=True,  # Ctrl-C reaches us first, and we end it in order
        )

    def _becomes_healthy(self) -> bool:
        end = time.monotonic() + _START_S
        with httpx.Client(verify=self.tls(), trust_env=False, timeout=2.0) as client:
            while time.monotonic() < end:
                if not self.alive():
                    return False
                try:
                    if client.get(f"https://{self.address}/health").status_code == httpx.codes.OK:
                        return True
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
        return False

    def _read_output(self) -> None:
        child = self._child
        if child is None or child.stdout is None:
            return
        with child.stdout as stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").strip()
                if not line or '"POST /v1/' in line or '"GET /health' in line:
                    continue
                self._tail.append(line[:200])
                if "ERROR" in line or "Traceback" in line:
                    self.log(Event.SUPERLINK_ERROR, level="error", reason="logged_error")


def self_signed() -> tuple[bytes, bytes]:
    """Certificate and key (PEM) for 127.0.0.1 that serve as their own trust anchor."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgeveil superlink")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address(LOOPBACK))
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(issuer, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def trust(certificate: bytes) -> ssl.SSLContext:
    """A client context that trusts exactly this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificate.decode("ascii"))
    return context


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
