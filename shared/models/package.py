"""A model package, `NAME.evm`: manifest, signature, weights and graph in one file (docs/models.md).

Whoever reads one has checked the form, the hashes and the signature; whose signature it is, and what the
graph does, is checked where it matters (check_signer, edgeveil.shared.models.graph).
"""

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from edgeveil.shared.base.errors import ConfigError, ModelError, ModelUntrusted
from edgeveil.shared.models import container, signature
from edgeveil.shared.models.manifest import Manifest
from edgeveil.shared.models.origin import Piece
from edgeveil.shared.wire.identity import Signer

MANIFEST, SIGNATURE, WEIGHTS, MODEL = (
    "manifest.json", "signature.json", "weights.safetensors", "model.onnx",
)  # fmt: skip
NAMES = (MANIFEST, SIGNATURE, WEIGHTS, MODEL)
_TENSORS = 288 << 20  # bytes: the largest model there can be, 2^26 values, and what describes it
LIMITS = {MANIFEST: 1 << 20, SIGNATURE: 1 << 10, WEIGHTS: _TENSORS, MODEL: _TENSORS}
MOST_BYTES = sum(LIMITS.values()) + 4096


@dataclass(frozen=True, slots=True, eq=False)
class Package:
    """A package whose hashes and signature are right; `signer` is the key that signed, 32 bytes."""

    manifest: Manifest
    signer: bytes
    digest: str  # SHA-256 of the manifest, hex: the name of this model
    weights: bytes = field(repr=False)
    model: bytes = field(repr=False)


def piece(data: bytes) -> Piece:
    """How a manifest names a part."""
    return Piece(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def assemble(manifest: Manifest, weights: bytes, model: bytes, signer: Signer) -> bytes:
    """The file; `manifest` already names the parts."""
    text = manifest.encode()
    signed = signature.sign(text, signer).encode()
    return container.encode({MANIFEST: text, SIGNATURE: signed, WEIGHTS: weights, MODEL: model})


def read_package(path: Path) -> Package:
    """Raise ModelError, in one sentence, for whatever is not a whole and truly signed package."""
    data = read_bytes(path)
    try:
        return parse_package(data)
    except ValueError as error:
        raise ModelError(f"{path}: this model package cannot be used: {error}") from error


def parse_package(data: bytes) -> Package:
    """Raise ValueError with what is wrong."""
    parts = container.decode(data, NAMES, LIMITS)
    if SIGNATURE not in parts:
        raise container.Unreadable("it is not signed")
    missing = [name for name in NAMES if name not in parts]
    if missing:
        raise container.Unreadable(f"the part {missing[0]} is missing")
    signed = signature.Signature.decode(parts[SIGNATURE])
    signature.check(parts[MANIFEST], signed)
    manifest = Manifest.decode(parts[MANIFEST])
    for name, told in ((WEIGHTS, manifest.weights), (MODEL, manifest.model)):
        if piece(parts[name]) != told:
            raise ValueError(f"the part {name} is not the one that was signed")
    digest = hashlib.sha256(parts[MANIFEST]).hexdigest()
    return Package(manifest, signed.key, digest, parts[WEIGHTS], parts[MODEL])


def check_signer(package: Package, trusted: bytes, whose: str) -> None:
    """Raise ModelUntrusted unless `trusted`, the key of `whose`, signed it."""
    if package.signer != trusted:
        raise ModelUntrusted(
            f"this model package is signed by {package.signer.hex()}, not by {whose} "
            f"({trusted.hex()}); if that is meant, name the key: --trust {package.signer.hex()}"
        )


def parse_key(text: str) -> bytes:
    """Of --trust: 64 hex digits. Raises ConfigError."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ConfigError(
            "--trust: a key has 64 hex digits; whoever runs the coordinator sees it with: coordinator model show"
        )
    return key


def read_bytes(path: Path) -> bytes:
    """A regular file of at most MOST_BYTES; raises ModelError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise ModelError(f"{path}: not a regular file")
            if found.st_size > MOST_BYTES:
                raise ModelError(
                    f"{path}: {found.st_size} bytes, a model package has at most {MOST_BYTES}"
                )
            return file.read(MOST_BYTES)
    except OSError as error:
        raise ModelError(
            f"{path}: this model package cannot be opened ({error.strerror})"
        ) from error
