"""The coordinator's own certificate authority (P-256, ten years) and its server certificate."""

from collections.abc import Sequence
from pathlib import Path

from shared.clock import Clock


def ensure_authority(folder: Path, *, clock: Clock | None = None) -> Path:
    """folder/ca.pem, made on first use with folder/ca.key (0600); a path to the certificate."""
    raise NotImplementedError


def ensure_leaf(
    folder: Path, hosts: Sequence[str], *, clock: Clock | None = None
) -> tuple[Path, Path]:
    """(server.pem with leaf and CA, server.key); renewed at a third of its life or when `hosts` grew."""
    raise NotImplementedError


def fingerprint(pem: bytes) -> bytes:
    """SHA-256 over the DER of the first certificate in `pem`; 32 bytes."""
    raise NotImplementedError


def expiry(path: Path) -> float:
    """Unix seconds at which the first certificate of the file ends."""
    raise NotImplementedError
