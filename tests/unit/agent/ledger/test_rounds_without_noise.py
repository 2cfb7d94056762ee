"""Rounds without noise: by the owner's word alone, written down before they begin, and never undone."""

import json
import shutil

import privacy_bench as bench
import pytest
from report_bench import joined_device
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.agent.ledger.guard import Reservation
from edgeveil.agent.reports.report import sign
from edgeveil.agent.reports.verify import Verdict
from edgeveil.shared.base.errors import ConfigError, PolicyRefusal, ProtocolError, StateDamaged
from edgeveil.shared.privacy.ledger.bookmark import Bookmark
from edgeveil.shared.privacy.ledger.heads import SignedHead
from edgeveil.shared.privacy.ledger.note import sign_note
from edgeveil.shared.privacy.ledger.records import Fault, Kind, LedgerDamaged, Record
from edgeveil.shared.privacy.ledger.replay import replay
from edgeveil.shared.privacy.unlimited import UNLIMITED

CONSENT = {"dp_required": False, "without_noise_for": [bench.COORDINATOR.hex()]}


@pytest.fixture
def device(tmp_path):
    """Two rounds with noise, then the owner's word."""
    made = joined_device(tmp_path)
    made.train(2)
    assert run(made, "policy", "set", "dp_required=false", "--yes").exit_code == 0
    made.set_policy(Policy.load(made.home.policy_path))
    return made


def run(device, *arguments):
    return CliRunner().invoke(app, [*arguments, "--home", str(device.path)])


def plain(device, number=3, until="ack", attempt=1):
    with device.device.open() as store:
        asked = bench.question(number, attempt, rounds=number, **bench.WITHOUT_NOISE)
        device.device.spend(store, asked, until=until)


def budget(device):
    return json.loads(run(device, "budget", "--json", "--no-prv").stdout)


def records(device):
    return list(ledger_records(device.ledger.parent, device.home.identity().public))


def test_the_owners_word_names_the_coordinator_joined_and_is_a_record(device):
    assert device.device.policy.exempt == {bench.COORDINATOR.hex()}
    assert [r.text("note_code") for r in records(device) if r.kind is Kind.POLICY] == ["loosened"]
    assert run(device, "policy", "set", "dp_required=true").exit_code == 0
    assert Policy.load(device.home.policy_path) == Policy()


def test_it_is_written_down_before_training_begins_and_a_power_cut_does_not_undo_it(device):
    before = budget(device)
    assert (before["limited"], before["rounds_without_noise"]) == (True, 0)
    plain(device, until="reserve")
    assert records(device)[-1].kind is Kind.UNLIMITED
    with device.device.open() as store:  # as after a cut: nothing was trained, nothing sent
        assert store.state.unlimited == 1
        assert store.state.epsilon_spent == store.state.epsilon_enforced == UNLIMITED
    assert budget(device)["epsilon_spent"] is None


@pytest.mark.parametrize("undo", [["policy", "set", "dp_required=true"], ["budget", "reset", "--yes"]])  # fmt: skip
def test_whatever_is_set_back_or_reset_epsilon_is_not_limited_for_ever(device, undo, tmp_path):
    plain(device)
    assert run(device, *undo).exit_code == 0
    device.set_policy(Policy.load(device.home.policy_path))
    device.train(1, noise_multiplier=80.0)  # counted as ever
    found = budget(device)
    assert (found["limited"], found["rounds_without_noise"], found["rounds"]) == (False, 1, 4)
    for part in (found, found["guarantee"]):
        assert part["epsilon_spent"] is part["epsilon_enforced"] is None
    assert found["guarantee"]["epsilon_since_opening"] is None
    assert found["mechanism"]["without_noise"]["rounds"] == 1
    assert "without noise" in found["not_covered"][0]
    assert "not limited" in run(device, "budget").stdout
    page = tmp_path / "report.html"
    made = run(device, "budget", "--no-prv", "--html", str(page))
    assert made.exit_code == 0, made.exception
    first = page.read_text().split("The figures behind it")[0]
    assert "ε of this data set is not limited: 1 rounds were without noise" in first
    for checked in ((), (str(page),)):
        assert run(device, "verify", *checked).exit_code == Verdict.OK


def test_a_reset_says_that_it_does_not_take_them_back(device):
    plain(device)
    assert "ε stays not limited" in run(device, "budget", "reset", "--yes").stderr
    alone = run(device, "budget", "reset", "--yes")
    assert isinstance(alone.exception, ConfigError)
    assert "a reset does not take back" in str(alone.exception)


def test_the_filter_goes_on_limiting_the_rounds_with_noise(device):
    plain(device)
    with device.device.open() as store:
        spent = store.state.rdp_spent
        device.device.spend(store, bench.question(4, rounds=4, noise_multiplier=60.0, steps=4))
        assert store.state.rdp_spent > spent > 0
        with pytest.raises(PolicyRefusal, match="the ledger admits"):
            device.device.admit(store, bench.question(5, rounds=5, noise_multiplier=1.0, steps=90))


def test_a_policy_edited_by_hand_allows_nothing(tmp_path):
    device = joined_device(tmp_path)
    device.train(1)
    device.set_policy(Policy(**CONSENT))
    with pytest.raises(ConfigError, match="dp_required"):
        device.device.open()
    fresh = bench.Device(tmp_path / "fresh" / "ledger", policy=Policy(**CONSENT))
    with pytest.raises(ConfigError, match="dp_required"):
        fresh.create()
    assert not fresh.ledger.exists()
    with fresh.create(accept_looser=True) as store:
        fresh.spend(store, bench.question(**bench.WITHOUT_NOISE))
        assert store.state.unlimited == 1


def test_a_process_that_believes_another_policy_than_the_chained_one_cannot_begin(tmp_path):
    """The record itself is refused, whatever the checks before it were made to think."""
    device = joined_device(tmp_path)
    with device.device.open() as store:
        asked = bench.question(**bench.WITHOUT_NOISE)
        with pytest.raises(ProtocolError, match="did not allow"):
            store.unlimited(Reservation(asked, free=False))
        assert [record.kind for record in records(device)] == [Kind.OPEN]


def test_a_sealed_update_without_noise_leaves_by_a_consent_that_still_stands(device):
    plain(device, until="seal")
    again = bench.question(3, 2, rounds=3, **bench.WITHOUT_NOISE)
    with device.device.open() as store:
        assert device.device.admit(store, again).free
        device.device.policy = Policy()
        with pytest.raises(PolicyRefusal) as caught:
            device.device.admit(store, again)
    assert caught.value.code == "POLICY_DP"


def test_a_copy_put_back_from_before_is_noticed(device, tmp_path):
    """By the bookmark's witnesses on the device, and by the head that the coordinator echoes."""
    copy = tmp_path / "copy"
    shutil.copytree(device.ledger.parent, copy)
    plain(device)
    with device.device.open() as store:
        echo = store.head()
    device.home.advance(bench.question(3).attempt)
    shutil.rmtree(device.ledger.parent)
    shutil.copytree(copy, device.ledger.parent)
    with device.device.open() as store, pytest.raises(PolicyRefusal) as caught:
        store.check_echo(echo, "run-2")
    assert caught.value.code == "LEDGER_ROLLBACK"
    with pytest.raises(StateDamaged, match="no ledger charged it"):
        device.device.open(attempts=device.home.last_attempts())
    assert run(device, "verify").exit_code == Verdict.CHAIN


def test_a_bookmark_by_a_build_that_knew_of_no_such_rounds_is_not_believed(device):
    """Nor does that build believe ours: it reads every record, and stops at the kind that it does not know."""
    signer = device.home.identity()
    with device.device.open() as store:
        state = store.state
    text = json.loads(json.loads(Bookmark(7, bytes(32), state).encode(signer))["body"])
    assert text.pop("v") == 4
    old = sign_note("ledger-bookmark", text, signer)
    with pytest.raises(ProtocolError):
        Bookmark.decode(old, signer.public)


def test_the_bookmark_of_a_long_ledger_keeps_the_mark(device):
    plain(device)
    signer = device.home.identity()
    with device.device.open() as store:
        state = store.state
    kept = Bookmark.decode(Bookmark(7, bytes(32), state).encode(signer), signer.public)
    assert kept.state == state
    assert kept.state.unlimited == 1


def test_an_owner_who_lets_it_be_told_tells_that_nothing_limits_it(device):
    plain(device)
    device.device.policy = Policy(tell_budget=True, **CONSENT)
    with device.device.open(accept_looser=True) as store:
        told = SignedHead.decode(store.head()).told
    assert told.epsilon == UNLIMITED


def rewritten(device, change):
    """The ledger with other bodies, chained and signed again by the device's own key."""
    signer, previous, lines = device.home.identity(), bytes(32), []
    for record in records(device):
        if (body := change(dict(record.body))) is not None:
            made = Record.make(body | {"seq": len(lines) + 1}, previous, signer)
            previous = made.hash
            lines.append(made)
    return lines


def test_a_ledger_that_was_opened_without_noise_or_has_such_a_round_unasked_is_over_budget(device):
    plain(device)
    consent = Policy(**CONSENT)

    def opened(body):
        if body["kind"] == "open":
            body |= {"policy": consent.to_json(), "policy_hash": consent.hash().hex()}
        return body

    def unasked(body):
        return None if body["kind"] == "policy" else body

    def by_another(body):
        if body["kind"] == "unlimited":
            body["coordinator_id"] = "ab" * 32
        return body

    for lie in (opened, unasked, by_another):
        with pytest.raises(LedgerDamaged) as caught:
            replay(rewritten(device, lie))
        assert caught.value.fault is Fault.BUDGET


FALSE_REPORTS = {
    "a number": lambda r: r.update(epsilon_spent=2.0),
    "limited": lambda r: r.update(limited=True),
    "limited in its guarantee": lambda r: r["guarantee"].update(limited=True),
    "no such round": lambda r: r["mechanism"]["without_noise"].update(rounds=0),
    "fewer such rounds": lambda r: r.update(rounds_without_noise=0),
    "an ε since the opening": lambda r: r["guarantee"].update(epsilon_since_opening=3.0),
}


@pytest.mark.parametrize("lie", FALSE_REPORTS.values(), ids=FALSE_REPORTS)
def test_a_report_that_says_otherwise_is_false_even_where_the_device_signed_it(
    device, lie, tmp_path
):
    plain(device)
    report = {key: value for key, value in budget(device).items() if key != "signature"}
    lie(report)
    path = tmp_path / "lie.json"
    path.write_text(json.dumps(sign(report, device.home.identity())))
    assert run(device, "verify", str(path)).exit_code == Verdict.REPORT
