"""Whose signature a model package needs here: a key that was named, or that of the device's coordinator.

A model that this device itself made of another one counts as signed by whoever signed that one, which was
checked when it was made.
"""

from pathlib import Path

from edgeveil.shared.models.package import Package, check_signer, parse_key
from edgeveil.shared.wire.identity import Identity


def check_trust(package: Package, trust: str | None, home: Path | None) -> str:
    """What to tell the user, "" if the signer is known here.

    `trust` is a key in hex and outweighs the coordinator that `home` has joined; without either whoever
    named the file vouches for it.

    Raises:
        ConfigError: `trust` is no key.
        ModelUntrusted: somebody else signed.
        StateDamaged: the home is there and cannot be read.
    """
    signer = _signer(package, home)
    if trust is not None:
        key = parse_key(trust)
        if key != signer:
            check_signer(package, key, "the key of --trust")
        return ""
    pinned = None if home is None else _coordinator(home)
    if pinned is None:
        return (
            f"signed by {signer.hex()}, whom nothing here vouches for "
            f"(this device has joined no coordinator; --trust KEY names one)"
        )
    if signer != pinned:
        check_signer(package, pinned, "the coordinator this device has joined")
    return ""


def _signer(package: Package, home: Path | None) -> bytes:
    """Who signed it, or what it was made of here."""
    derived = package.manifest.derived
    if derived is None or home is None or not (home / "identity.key").exists():
        return package.signer
    own = Identity.load(home / "identity.key").public
    return bytes.fromhex(derived.signer) if package.signer == own else package.signer


def _coordinator(home: Path) -> bytes | None:
    """The key that was pinned on joining. A home that is not there is not made."""
    if not (home / "pinned.json").exists():
        return None
    from edgeveil.agent.home.home import AgentHome  # noqa: PLC0415 - keys and rosters, a tenth of the start

    pinned = AgentHome(home).find_pinned()
    return None if pinned is None else pinned.coordinator_public
