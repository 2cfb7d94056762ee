import socket
import ssl
import stat
import threading

import pytest
from cryptography import x509
from enrollment_bench import NOW, TurnableClock

from edgeveil.coordinator.federation.certificates import (
    ensure_authority,
    ensure_leaf,
    expiry,
    fingerprint,
)
from edgeveil.shared.base.errors import ConfigError, StateDamaged

DAY = 86_400


@pytest.fixture
def clock():
    return TurnableClock()


def names_of(chain):
    leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def test_the_authority_is_made_once_and_lives_ten_years(tmp_path, clock):
    path = ensure_authority(tmp_path, clock=clock)
    first = path.read_bytes()
    clock.seconds += 3000 * DAY
    assert ensure_authority(tmp_path, clock=clock).read_bytes() == first
    assert expiry(path) == NOW + 3650 * DAY


def test_the_chain_holds_leaf_and_authority(tmp_path, clock):
    chain, _ = ensure_leaf(tmp_path, ["fl.example.org", "192.0.2.1"], clock=clock)
    leaf, authority = x509.load_pem_x509_certificates(chain.read_bytes())
    leaf.verify_directly_issued_by(authority)
    assert fingerprint((tmp_path / "ca.pem").read_bytes()) == authority.fingerprint(
        x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes()).signature_hash_algorithm
    )
    assert {"fl.example.org", "192.0.2.1", "localhost", "127.0.0.1"} <= names_of(chain)


def test_both_keys_belong_to_their_owner_alone(tmp_path, clock):
    _, key = ensure_leaf(tmp_path, [], clock=clock)
    for path in (key, tmp_path / "ca.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_young_leaf_stays_and_one_past_a_third_of_its_life_is_renewed(tmp_path, clock):
    chain, key = ensure_leaf(tmp_path, ["a.example"], clock=clock)
    first = (chain.read_bytes(), key.read_bytes())
    clock.seconds += 29 * DAY
    ensure_leaf(tmp_path, ["a.example"], clock=clock)
    assert (chain.read_bytes(), key.read_bytes()) == first
    clock.seconds += 2 * DAY
    ensure_leaf(tmp_path, ["a.example"], clock=clock)
    assert chain.read_bytes() != first[0]
    assert key.read_bytes() != first[1]
    assert expiry(chain) == clock.seconds + 90 * DAY


def test_a_new_host_renews_the_leaf_and_a_removed_one_does_not(tmp_path, clock):
    chain, _ = ensure_leaf(tmp_path, ["a.example"], clock=clock)
    ensure_leaf(tmp_path, ["a.example", "b.example"], clock=clock)
    second = chain.read_bytes()
    assert {"a.example", "b.example"} <= names_of(chain)
    ensure_leaf(tmp_path, ["b.example"], clock=clock)
    assert chain.read_bytes() == second


@pytest.mark.parametrize("damage", ["leaf", "key", "clock back"])
def test_a_useless_leaf_is_replaced(tmp_path, clock, damage):
    chain, key = ensure_leaf(tmp_path, [], clock=clock)
    first = chain.read_bytes()
    if damage == "leaf":
        chain.write_bytes(b"garbage")
    elif damage == "key":
        key.unlink()
    else:
        clock.seconds -= 10 * DAY
    ensure_leaf(tmp_path, [], clock=clock)
    assert chain.read_bytes() != first
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(chain, key)


def test_a_leaf_of_another_authority_is_replaced(tmp_path, clock):
    ensure_leaf(tmp_path / "a", [], clock=clock)
    ensure_leaf(tmp_path / "b", [], clock=clock)
    for name in ("server.pem", "server.key"):
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    chain, _ = ensure_leaf(tmp_path / "a", [], clock=clock)
    leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
    authority = x509.load_pem_x509_certificate((tmp_path / "a" / "ca.pem").read_bytes())
    leaf.verify_directly_issued_by(authority)


@pytest.mark.parametrize("damage", ["key gone", "key of another", "certificate damaged"])
def test_a_damaged_authority_is_never_replaced_silently(tmp_path, clock, damage):
    path = ensure_authority(tmp_path / "a", clock=clock)
    key = tmp_path / "a" / "ca.key"
    if damage == "key gone":
        key.unlink()
    elif damage == "key of another":
        ensure_authority(tmp_path / "b", clock=clock)
        key.write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    else:
        path.write_bytes(b"garbage")
    with pytest.raises(StateDamaged, match=r"ca\.(key|pem)"):
        ensure_leaf(tmp_path / "a", [], clock=clock)


def test_an_authority_key_readable_by_others_is_refused(tmp_path, clock):
    ensure_authority(tmp_path, clock=clock)
    (tmp_path / "ca.key").chmod(0o644)
    with pytest.raises(StateDamaged, match="chmod 600"):
        ensure_authority(tmp_path, clock=clock)


def test_a_crash_between_key_and_certificate_is_repaired(tmp_path, clock):
    path = ensure_authority(tmp_path, clock=clock)
    path.unlink()
    ensure_authority(tmp_path, clock=clock)
    ensure_authority(tmp_path, clock=clock)


@pytest.mark.parametrize("host", ["", "a b", "a/b", "höst", "x" * 300, "evil\0.example"])
def test_a_host_that_cannot_be_certified_is_a_configuration_error(tmp_path, clock, host):
    with pytest.raises(ConfigError, match="host"):
        ensure_leaf(tmp_path, [host], clock=clock)


@pytest.mark.parametrize(
    ("name", "trusted"), [("localhost", True), ("127.0.0.1", True), ("other.example", False)]
)
def test_a_client_that_trusts_the_authority_verifies_the_server(tmp_path, name, trusted):
    chain, key = ensure_leaf(tmp_path, [])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    left, right = socket.socketpair()
    left.settimeout(60)
    right.settimeout(60)

    def serve():
        try:
            server.wrap_socket(left, server_side=True).close()
        except OSError:
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        if trusted:
            client.wrap_socket(right, server_hostname=name).close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                client.wrap_socket(right, server_hostname=name)
    finally:
        right.close()
        thread.join(60)
