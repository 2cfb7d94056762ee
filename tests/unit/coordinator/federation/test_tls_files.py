"""Which certificate is served, and what is said about one that agents would refuse."""

import pytest
from certificates_bench import DAY, Operator
from cryptography import x509
from pydantic import ValidationError
from transport_bench import Events, SkewedClock

from edgeveil.coordinator.federation.certificate_keeper import LOOK_S, CertificateKeeper
from edgeveil.coordinator.federation.certificates import ensure_leaf
from edgeveil.coordinator.federation.tls import authority_fingerprint, serving_files, tls_folder
from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.base.files import private_directory
from edgeveil.shared.wire.tokens import fingerprint


@pytest.fixture
def home(tmp_path):
    private_directory(tmp_path / "home" / "tls")
    return tmp_path / "home"


@pytest.fixture
def operator(tmp_path):
    (tmp_path / "operator").mkdir()
    return Operator(tmp_path / "operator")


def test_our_own_leaf_passes_the_checks_of_an_agent(home):
    config = CoordinatorConfig(url="https://fl.example.org:8443", federation_public="0" * 64)
    chain, _ = serving_files(home, config)
    assert chain == tls_folder(home) / "server.pem"
    assert len(authority_fingerprint(home, config)) == 16


def test_the_operators_chain_is_served_with_the_root_that_devices_are_to_pin(home, operator):
    chain, key = serving_files(home, operator.config())
    leaf, root = x509.load_pem_x509_certificates(chain.read_bytes())
    assert leaf == x509.load_pem_x509_certificate(operator.certificate.read_bytes())
    from cryptography.hazmat.primitives.serialization import Encoding

    der = root.public_bytes(Encoding.DER)
    assert authority_fingerprint(home, operator.config()) == fingerprint(der)
    assert key.read_bytes() == operator.key.read_bytes()
    assert key.stat().st_mode & 0o077 == 0


def test_a_key_behind_a_link_is_followed_and_its_mode_checked(home, operator):
    real = operator.folder / "archive.pem"
    operator.key.rename(real)
    operator.key.symlink_to(real)
    assert serving_files(home, operator.config())[1].read_bytes() == real.read_bytes()
    real.chmod(0o640)
    with pytest.raises(StateDamaged, match="chmod 600"):
        serving_files(home, operator.config())


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda o: o.deploy(days=-200), "expired"),
        (lambda o: o.deploy(days=2), r"not valid yet.*clock"),
        (lambda o: o.deploy("elsewhere.example.org"), "host"),
        (lambda o: o.key.write_bytes((o.ca / "ca.key").read_bytes()), "KEY_VALUES_MISMATCH"),
        (lambda o: o.certificate.write_text("nothing"), "no certificate in PEM"),
        (lambda o: o.certificate.unlink(), "cannot be read"),
    ],
)
def test_files_that_agents_would_refuse_are_named_with_the_reason(home, operator, spoil, says):
    spoil(operator)
    host = "127.0.0.1" if "host" not in says else "fl.example.org"
    with pytest.raises(ConfigError, match=says):
        serving_files(home, operator.config(host))


def test_a_leaf_of_another_authority_is_refused(home, operator, tmp_path):
    chain, key = ensure_leaf(tmp_path / "other", ["127.0.0.1"])
    operator.certificate.write_bytes(chain.read_bytes())
    operator.key.write_bytes(key.read_bytes())
    with pytest.raises(ConfigError, match="does not come from the pinned authority"):
        serving_files(home, operator.config())


def test_half_a_certificate_is_a_mistake(operator):
    for missing in operator.values:
        values = {key: value for key, value in operator.values.items() if key != missing}
        with pytest.raises(ValidationError, match="belong together"):
            CoordinatorConfig(url="https://a:1", federation_public="0" * 64, **values)


class Kept:
    """A keeper with a clock to turn, and what it did."""

    def __init__(self, home, config):
        self.clock, self.events = SkewedClock(), Events()
        self.reloaded, self.said = [], []
        self.keeper = CertificateKeeper(
            home,
            config,
            reload=lambda chain, key: self.reloaded.append(chain.read_bytes()),
            log=self.events,
            say=self.said.append,
            clock=self.clock,
        )
        self.keeper.first()

    def later(self, seconds=LOOK_S + 1):
        self.clock.monotonic_offset += seconds
        self.keeper.check()


def test_new_files_are_taken_within_seconds_and_only_once(home, operator):
    kept = Kept(home, operator.config())
    kept.later()
    assert kept.reloaded == []
    fresh = operator.deploy()
    kept.keeper.check()
    assert kept.reloaded == []
    kept.later()
    kept.later()
    assert [fresh in chain for chain in kept.reloaded] == [True]
    assert kept.events.names() == ["certificate.renew"]


def test_new_files_that_do_not_fit_leave_the_old_ones_in_use(home, operator):
    kept = Kept(home, operator.config())
    operator.certificate.write_text("half a file")
    kept.later()
    kept.later()
    assert kept.reloaded == []
    assert kept.events.names() == ["certificate.refuse"]
    assert "no certificate in PEM" in kept.said[0]
    operator.deploy()
    kept.later()
    assert kept.events.names() == ["certificate.refuse", "certificate.renew"]


def test_an_end_that_comes_near_is_said_and_logged(home, operator):
    operator.deploy(days=-80)
    kept = Kept(home, operator.config())
    assert kept.events.names() == ["certificate.expire"]
    assert "expires in 10 days" in kept.said[0]


def test_our_own_leaf_is_renewed_while_it_serves(home):
    config = CoordinatorConfig(url="https://127.0.0.1:8443", federation_public="0" * 64)
    kept = Kept(home, config)
    (tls_folder(home) / "server.pem").unlink()  # as good as old
    kept.later()
    assert kept.reloaded == []
    kept.later(DAY)
    assert len(kept.reloaded) == 1
