import json
import stat

import pytest
from enrollment_bench import Bench, Device
from store_bench import add_agent

from edgeveil.coordinator.federation.roster_files import (
    LIFETIME_S,
    RosterFile,
    create_federation_key,
    import_roster,
    is_encrypted,
    load_federation_key,
    sign_roster,
)
from edgeveil.shared.base.errors import ConfigError, EnrollmentError, StateDamaged
from edgeveil.shared.wire.identity import Identity


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def enrol(bench, *names):
    devices = [Device() for _ in names]
    for name, device in zip(names, devices, strict=True):
        add_agent(bench.store, device.enrolled(name))
    return devices


def import_(bench, data, federation=None):
    public = (federation or bench.federation).public
    return import_roster(bench.store, data, public, clock=bench.clock)


def test_the_candidate_holds_everybody_who_joined_and_is_not_revoked(bench):
    a, b, _ = enrol(bench, "a", "b", "c")
    bench.store.revoke("c")
    file = RosterFile.decode(bench.export())
    assert file.names == {a.agent_id: "a", b.agent_id: "b"}
    assert (file.roster.epoch, file.signature) == (1, b"")
    assert file.roster.expires - file.roster.issued == LIFETIME_S
    assert RosterFile.decode(file.encode()) == file


def test_export_sign_import_puts_the_roster_in_force(bench):
    a, b = enrol(bench, "a", "b")
    signed = sign_roster(bench.export(), bench.federation)
    opened = import_(bench, signed)
    assert bench.store.roster() == opened
    assert opened.roster.members == {x.agent_id: x.identity.public for x in (a, b)}
    assert import_(bench, signed) == opened
    bench.sign_and_import()
    assert bench.store.roster().roster.epoch == 2


def test_there_is_nothing_to_export_before_anybody_joined(bench):
    with pytest.raises(ConfigError, match="nobody has joined"):
        bench.export()


def test_an_unsigned_or_foreign_signature_is_refused(bench):
    enrol(bench, "a")
    stranger = Identity.generate()
    with pytest.raises(EnrollmentError, match="not signed yet"):
        import_(bench, bench.export())
    with pytest.raises(EnrollmentError, match="another federation"):
        sign_roster(bench.export(), stranger)
    signed = sign_roster(bench.export(), bench.federation)
    with pytest.raises(EnrollmentError, match="another federation"):
        import_(bench, signed, stranger)
    forged = json.loads(signed)
    forged["signature"] = stranger.sign(bytes.fromhex(forged["body"])).hex()
    with pytest.raises(EnrollmentError, match="does not verify"):
        import_(bench, json.dumps(forged).encode())
    assert bench.store.roster() is None


def test_an_older_roster_never_comes_back(bench):
    enrol(bench, "a")
    first = sign_roster(bench.export(), bench.federation)
    bench.sign_and_import()
    bench.clock.seconds += 1
    bench.sign_and_import()
    with pytest.raises(EnrollmentError, match="not above"):
        import_(bench, first)


def test_an_expired_roster_is_refused(bench):
    enrol(bench, "a")
    signed = sign_roster(bench.export(), bench.federation)
    bench.clock.seconds += LIFETIME_S + 1
    with pytest.raises(EnrollmentError, match="expired"):
        import_(bench, signed)


def test_a_member_revoked_since_the_export_is_not_let_back_in(bench):
    enrol(bench, "a", "b")
    signed = sign_roster(bench.export(), bench.federation)
    bench.store.revoke("b")
    with pytest.raises(EnrollmentError, match="b was revoked"):
        import_(bench, signed)


def test_a_member_that_never_joined_here_is_refused(bench, tmp_path):
    enrol(bench, "a")
    other = Bench(tmp_path / "sub") if (tmp_path / "sub").mkdir() is None else None
    other.federation = bench.federation
    enrol(other, "stranger")
    signed = sign_roster(other.export(), bench.federation)
    other.close()
    with pytest.raises(EnrollmentError, match="stranger has not joined"):
        import_(bench, signed)


@pytest.mark.parametrize(
    "damage",
    [
        lambda v: b"",
        lambda v: b"[" * 100_000,
        lambda v: json.dumps(v | {"body": "zz"}).encode(),
        lambda v: json.dumps(v | {"body": v["body"][:-2]}).encode(),
        lambda v: json.dumps(v | {"names": {}}).encode(),
        lambda v: json.dumps(v | {"names": dict.fromkeys(v["names"], "\x1b[31m")}).encode(),
        lambda v: json.dumps(v | {"more": 1}).encode(),
        lambda v: b" " * 5_000_000,
    ],
)
def test_a_damaged_file_is_a_configuration_error(bench, damage):
    enrol(bench, "a")
    data = damage(json.loads(sign_roster(bench.export(), bench.federation)))
    with pytest.raises(ConfigError, match="roster file"):
        import_(bench, data)


# The federation key


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_the_federation_key_comes_back(tmp_path, passphrase):
    path = tmp_path / "stick" / "federation.pem"
    made = create_federation_key(path, passphrase)
    assert load_federation_key(path, passphrase).public == made.public
    assert is_encrypted(path) is (passphrase is not None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_passphrase_that_is_not_needed_is_ignored(tmp_path):
    made = create_federation_key(tmp_path / "key", None)
    assert load_federation_key(tmp_path / "key", b"anything").public == made.public


def test_the_encrypted_key_needs_its_passphrase(tmp_path):
    create_federation_key(tmp_path / "key", b"correct horse")
    for passphrase in (None, b"", b"wrong"):
        with pytest.raises(EnrollmentError, match="passphrase"):
            load_federation_key(tmp_path / "key", passphrase)


def test_a_federation_key_is_never_overwritten(tmp_path):
    create_federation_key(tmp_path / "key", None)
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        create_federation_key(tmp_path / "key", b"other")
    assert (tmp_path / "key").read_bytes() == before


def test_an_empty_passphrase_is_not_taken_for_none(tmp_path):
    with pytest.raises(ConfigError, match="empty"):
        create_federation_key(tmp_path / "key", b"")


def test_a_damaged_open_or_foreign_key_is_refused(tmp_path):
    path = tmp_path / "key"
    with pytest.raises(StateDamaged, match="does not exist"):
        load_federation_key(path, None)
    create_federation_key(path, None)
    path.chmod(0o644)
    with pytest.raises(StateDamaged, match="chmod 600"):
        load_federation_key(path, None)
    path.chmod(0o600)
    path.write_bytes(b"garbage")
    with pytest.raises(StateDamaged, match="readable private key"):
        load_federation_key(path, None)
    from edgeveil.coordinator.federation.certificates import ensure_authority

    ensure_authority(tmp_path / "tls")
    with pytest.raises(StateDamaged, match="another kind"):
        load_federation_key(tmp_path / "tls" / "ca.key", None)
