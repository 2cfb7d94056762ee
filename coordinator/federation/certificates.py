"""The coordinator's own certificate authority (P-256, ten years) and its server certificate.

Agents pin the authority by the fingerprint in their token, so the server certificate can be renewed
without telling anybody. There are no client certificates: the node key, the identity signature and
the roster do that job (docs/threat-model.md).
"""

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeveil.shared.base.clock import Clock, SystemClock
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.base.files import private_directory, read_secret, write_atomic, write_secret

AUTHORITY_LIFE = dt.timedelta(days=3650)
LEAF_LIFE = dt.timedelta(days=90)
BACKDATE = dt.timedelta(minutes=10)  # devices whose clock is a little behind
RESTORE = "restore it from a backup"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def ensure_authority(folder: Path, *, clock: Clock | None = None) -> Path:
    """folder/ca.pem, made on first use together with folder/ca.key (0600).

    Raises:
        StateDamaged: one of the two is missing, unreadable, or they do not belong together. A lost
            authority is never replaced silently, since every agent has pinned it.
    """
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if not certificate.exists():
        private_directory(folder)
        private = _load_key(key) if key.exists() else ec.generate_private_key(ec.SECP256R1())
        _save_key(key, private)
        made = _make_authority(private, _now(clock))
        write_atomic(certificate, made.public_bytes(Encoding.PEM), mode=0o644)
    elif _load_certificate(certificate).public_key() != _load_key(key).public_key():
        raise StateDamaged(f"{key}: does not belong to {certificate}; restore both from one backup")
    return certificate


def ensure_leaf(
    folder: Path, hosts: Sequence[str], *, clock: Clock | None = None
) -> tuple[Path, Path]:
    """(folder/server.pem with leaf and authority, folder/server.key).

    A new key and leaf are made when a third of the old one's 90 days is over, when `hosts` asks for
    a name it lacks, or when it was not issued by the present authority.

    Raises:
        ConfigError: a host that is neither a DNS name nor an IP address.
        StateDamaged: the authority is missing or damaged.
    """
    authority = _load_certificate(ensure_authority(folder, clock=clock))
    names = [_general_name(host) for host in dict.fromkeys((*hosts, *LOCAL_HOSTS))]
    chain, key = folder / "server.pem", folder / "server.key"
    now = _now(clock)
    if not _is_current(chain, key, authority, names, now):
        private = ec.generate_private_key(ec.SECP256R1())
        leaf = _make_leaf(private, names, authority, _load_key(folder / "ca.key"), now)
        pem = leaf.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM)
        _save_key(key, private)
        write_atomic(chain, pem, mode=0o644)
    return chain, key


def fingerprint(pem: bytes) -> bytes:
    """SHA-256 over the DER of the first certificate in `pem`; 32 bytes."""
    certificate = x509.load_pem_x509_certificate(pem)
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()


def expiry(path: Path) -> float:
    """Unix seconds at which the first certificate of the file ends; raises StateDamaged."""
    return _load_certificate(path).not_valid_after_utc.timestamp()


def _now(clock: Clock | None) -> dt.datetime:
    seconds = (clock or SystemClock()).wall()
    return dt.datetime.fromtimestamp(seconds, tz=dt.UTC)


def _is_current(
    chain: Path,
    key: Path,
    authority: x509.Certificate,
    names: Sequence[x509.GeneralName],
    now: dt.datetime,
) -> bool:
    """Whether the present leaf may stay; a damaged one may not, for it costs nothing to renew."""
    try:
        leaf = _load_certificate(chain)
        leaf.verify_directly_issued_by(authority)
        present = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        matches = leaf.public_key() == _load_key(key).public_key()
    except (StateDamaged, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    started, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    young = started <= now < started + (ends - started) / 3
    return matches and young and all(name in present for name in names)


def _make_authority(private: ec.EllipticCurvePrivateKey, now: dt.datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Edgeveil coordinator CA")])
    public = private.public_key()
    return (
        _builder(name, name, public, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(private, SHA256())
    )


def _make_leaf(
    private: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Edgeveil coordinator")])
    issuer_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    from_issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id)
    public = private.public_key()
    return (
        _builder(subject, authority.subject, public, now, LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(from_issuer, critical=False)
        .sign(authority_key, SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    life: dt.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + life)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    if not host or not host.isascii() or len(host) > 253 or any(c in host for c in " /:@\0"):
        raise ConfigError(
            f"host {host!r} cannot stand in the server certificate; give a DNS name or an IP address"
        )
    return x509.DNSName(host)


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StateDamaged(f"{path}: not a readable certificate; {RESTORE}") from error


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(read_secret(path), None)
    except (ValueError, TypeError) as error:
        raise StateDamaged(f"{path}: not a readable private key; {RESTORE}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StateDamaged(f"{path}: not an elliptic-curve key; {RESTORE}")
    return key


def _save_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
