"""The six steps of a round, restarts, policy changes, rollbacks and the lock."""

import json
import shutil
from dataclasses import replace

import privacy_bench as bench
import pytest

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.size import Size
from edgeveil.agent.ledger.index import INDEX
from edgeveil.agent.ledger.store import LedgerStore, ledger_records, read_ledger
from edgeveil.shared.base.errors import (
    BudgetExhausted,
    Busy,
    ConfigError,
    PolicyRefusal,
    ProtocolError,
    RefusalCode,
    StateDamaged,
)
from edgeveil.shared.privacy.ledger.records import Kind, LedgerDamaged
from edgeveil.shared.privacy.ledger.state import Phase
from edgeveil.shared.wire.identity import Identity


@pytest.fixture
def device(tmp_path):
    return bench.Device(tmp_path / "ledger")


def kinds(device):
    return [record.kind for record in ledger_records(device.folder, device.identity.public)]


def blob(device):
    return device.folder / "sealed.bin"


def test_a_reservation_is_spent_before_anything_else_happens(device):
    with device.open() as store:
        device.spend(store, bench.question(1), until="reserve")
        on_disk = read_ledger(device.folder, device.identity.public)
        assert on_disk.rdp_spent == store.state.rdp_spent > 0
        assert on_disk.history == ((4.43, 1.0, 8),)
        assert on_disk.epsilon_spent <= on_disk.epsilon_enforced < 8.0
        assert 0 < on_disk.share_spent < 1


def test_an_unused_ledger_has_spent_nothing(device):
    with device.open() as store:
        assert (store.state.epsilon_spent, store.state.epsilon_enforced) == (0.0, 0.0)
        assert store.state.share_spent == 0.0


def test_a_whole_round_leaves_no_update_behind(device):
    with device.open() as store:
        device.spend(store, bench.question(1), until="submit")
        assert blob(device).read_bytes() == b"noisy update"
        store.ack(bench.question(1).attempt)
        assert not blob(device).exists()
    assert kinds(device) == ["open", "reserve", "seal", "submit", "ack"]


def test_a_reserve_without_seal_counts_and_is_never_refunded(device):
    with device.open() as store:
        device.spend(store, bench.question(1), until="reserve")
        spent = store.state.rdp_spent
    with device.open() as store:
        assert store.state.rdp_spent == spent
        device.spend(store, bench.question(1, 2))
        assert store.state.rdp_spent == pytest.approx(2 * spent)


def test_a_sealed_update_survives_a_restart_and_is_masked_again_for_free(device):
    with device.open() as store:
        device.spend(store, bench.question(1), until="seal")
        spent = store.state.rdp_spent
    with device.open() as store:
        again = device.admit(store, bench.question(1, 2))
        assert again.free
        assert store.sealed_blob(again) == b"noisy update"
        store.submit(bench.question(1, 2).attempt, b"x" * 32)
        store.ack(bench.question(1, 2).attempt)
        assert store.state.rdp_spent == spent
        with pytest.raises(PolicyRefusal) as caught:
            device.admit(store, bench.question(1, 2))
        assert caught.value.code is RefusalCode.ROUND_REPLAY


def test_a_sealed_update_answers_no_other_question(device):
    with device.open() as store:
        device.spend(store, bench.question(1), until="seal")
        other = device.admit(store, bench.question(1, 2, learning_rate=50.0))
        assert store.sealed_blob(other) is None
        store.reserve(other)
        assert not blob(device).exists()
        assert store.state.rounds_charged == 2


@pytest.mark.parametrize("damage", [b"another update", None])
def test_a_sealed_update_that_changed_on_disk_is_not_used(device, damage):
    with device.open() as store:
        device.spend(store, bench.question(1), until="seal")
        if damage is None:
            blob(device).unlink()
        else:
            blob(device).write_bytes(damage)
        assert store.sealed_blob(device.admit(store, bench.question(1, 2))) is None


def test_a_submitted_update_is_given_up_at_restart(device):
    with device.open() as store:
        device.spend(store, bench.question(1), until="submit")
    with device.open() as store:
        assert store.state.current.phase is Phase.DONE
        assert not blob(device).exists()
        last = ledger_records(device.folder, device.identity.public)[-1]
        assert (last.kind, last.text("note_code")) == (Kind.ACK, "unknown")
        with pytest.raises(ProtocolError):
            store.submit(bench.question(1).attempt, b"x" * 32)


def test_a_new_reservation_gives_up_a_submitted_update(device):
    with device.open() as store:
        device.spend(store, bench.question(1), until="submit")
        device.spend(store, bench.question(1, 2), until="reserve")
        assert kinds(device)[-2:] == ["ack", "reserve"]
        store.ack(bench.question(1).attempt)  # a late confirmation changes nothing
        assert kinds(device)[-1] == "reserve"


def test_a_leftover_file_without_a_seal_is_removed(device):
    with device.open() as store:
        device.spend(store, bench.question(1), until="reserve")
        blob(device).write_bytes(b"written, but its seal record never was")
    with device.open():
        assert not blob(device).exists()


def test_steps_out_of_order_are_refused_and_leave_no_trace(device):
    first, second = bench.question(1).attempt, bench.question(2).attempt
    with device.open() as store:
        for wrong in (
            lambda: store.seal(first, b"", steps_done=8, gradient_mode="ghost"),
            lambda: store.submit(first, b"x" * 32),
        ):
            with pytest.raises(ProtocolError) as caught:
                wrong()
            assert caught.value.code is RefusalCode.STATE
        device.spend(store, bench.question(1), until="reserve")
        with pytest.raises(ProtocolError):
            store.seal(second, b"", steps_done=8, gradient_mode="ghost")
        with pytest.raises(ProtocolError):
            store.seal(first, b"", steps_done=9, gradient_mode="ghost")
        with pytest.raises(ProtocolError):
            store.submit(first, b"x" * 32)
        store.ack(first)
    assert kinds(device) == ["open", "reserve"]


def test_the_update_is_never_submitted_twice(device):
    with device.open() as store:
        device.spend(store, bench.question(1), until="submit")
        for attempt in (1, 2):
            with pytest.raises(ProtocolError):
                store.submit(bench.question(1, attempt).attempt, b"y" * 32)


def test_two_admissions_of_the_last_budget_charge_only_once(device):
    plan = {"noise_multiplier": 2.0, "steps": 9, "rounds": 1}
    with device.open() as store:
        one = device.admit(store, bench.question(1, run="run-1", **plan))
        two = device.admit(store, bench.question(1, run="run-2", **plan))
        store.reserve(one)
        with pytest.raises(BudgetExhausted) as caught:
            store.reserve(two)
        assert caught.value.code is RefusalCode.BUDGET_WOULD_EXCEED


def test_two_coordinators_share_one_budget(device):
    other = {"coordinator_id": b"d" * 32, "run": "run-2"}
    policy = Policy(coordinators=[bench.COORDINATOR.hex(), (b"d" * 32).hex()])
    device.policy = policy
    with device.open() as store:
        device.spend(store, bench.question(1))
        device.spend(store, bench.question(1, **other))
        assert store.state.steps_left(4.43, 1.0) == 48 - 16


def test_only_one_process_holds_a_ledger(device):
    with device.open(), pytest.raises(Busy):
        device.open()
    with device.open() as store:
        assert store.state.seq == 1


def test_a_failed_opening_releases_the_lock(device):
    device.open().close()
    with pytest.raises(ConfigError):
        device.open(policy=Policy(epsilon_max=9.0))
    device.open().close()


def test_reading_needs_no_lock_and_leaves_out_an_unfinished_line(device):
    with device.open() as store:
        with device.ledger.open("ab") as file:
            file.write(b'{"body":')
        assert read_ledger(device.folder, device.identity.public).seq == store.state.seq


def test_reading_a_ledger_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="agent run"):
        read_ledger(tmp_path, bytes(32))


def test_a_ledger_belongs_to_one_dataset_and_one_unit(device):
    device.open().close()
    with pytest.raises(PolicyRefusal) as caught:
        device.open(dataset_id="other")
    assert caught.value.code is RefusalCode.DATASET_CHANGED
    with pytest.raises(ConfigError, match="unit"):
        device.open(unit="user")


def test_a_ledger_begins_once_so_the_declared_size_stays(device):
    device.create().close()
    with pytest.raises(ConfigError, match="there is a ledger already"):
        device.create(size=Size(2000))
    with device.open() as store:
        assert (store.state.seq, store.state.n_ref) == (1, 1000)


def test_opening_never_begins_a_ledger(device):
    device.create().close()
    elsewhere = replace(device, folder=device.folder.with_name("other"))
    with pytest.raises(ConfigError, match="agent run"):
        LedgerStore.open(elsewhere.folder, **elsewhere._common, attempts={})
    assert not elsewhere.ledger.exists()
    device.ledger.unlink()
    with pytest.raises(LedgerDamaged, match="this ledger is gone"):
        LedgerStore.open(device.folder, **device._common, attempts={})


def test_delta_must_be_below_one_over_the_declared_size(device):
    with pytest.raises(ConfigError, match="delta"):
        device.open(size=Size(100_000))
    device.open().close()
    with pytest.raises(ConfigError, match="delta"):
        device.open(policy=Policy(delta=2e-3), accept_looser=True)


def test_a_tightened_policy_is_chained_at_once(device):
    device.open().close()
    with device.open(policy=Policy(epsilon_max=4.0)) as store:
        assert store.state.epsilon_max == 4.0
        assert store.state.cap == pytest.approx(4.912138371 - 4.0)
    assert kinds(device) == ["open", "policy"]


def test_a_loosened_policy_needs_the_owners_word(device):
    device.open().close()
    looser = Policy(epsilon_max=9.0, sigma_min=0.1)
    with pytest.raises(ConfigError, match="epsilon_max, sigma_min"):
        device.open(policy=looser)
    assert kinds(device) == ["open"]
    with device.open(policy=looser, accept_looser=True) as store:
        assert store.state.epsilon_max == 9.0
    device.policy = looser
    device.open().close()
    assert kinds(device) == ["open", "policy"]


def test_a_policy_of_an_unknown_schema_counts_as_looser(device, monkeypatch):
    monkeypatch.setattr(Policy, "to_json", lambda _self: '{"of_a_later_version":1}')
    device.open().close()
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="another version"):
        device.open()


def test_a_budget_tightened_below_what_is_spent_refuses_everything(device):
    with device.open() as store:
        device.spend(store, bench.question(1))
    device.policy = Policy(epsilon_max=3.2)
    with device.open() as store:
        assert store.state.share_spent == 1.0
        with pytest.raises(BudgetExhausted):
            device.admit(store, bench.question(2))


def test_a_reset_starts_at_zero_and_stays_visible(device):
    with device.open() as store:
        device.spend(store, bench.question(1), until="seal")
        store.reset("owner")
        assert (store.state.rdp_spent, store.state.resets) == (0.0, 1)
        assert not blob(device).exists()
        with pytest.raises(PolicyRefusal) as caught:
            device.admit(store, bench.question(1))
        assert caught.value.code is RefusalCode.ROUND_REPLAY
    assert read_ledger(device.folder, device.identity.public).resets == 1


def test_an_echo_of_any_earlier_head_passes_and_is_noted_once_per_charged_run(device):
    with device.open() as store:
        heads = [store.head()]
        device.spend(store, bench.question(1, noise_multiplier=60.0))
        heads.append(store.head())
        for head in heads * 2:
            store.check_echo(head, "run-1")
        device.spend(store, bench.question(2, noise_multiplier=60.0))
        store.check_echo(b"", "run-2")
        assert kinds(device).count("anchor") == 1
        store.check_echo(heads[1], "run-1")
        device.spend(store, bench.question(3, noise_multiplier=60.0))
        assert kinds(device).count("anchor") == 1
        store.check_echo(heads[1], "run-2")
        device.spend(store, bench.question(1, run="run-2", noise_multiplier=60.0))
        assert kinds(device).count("anchor") == 2


def test_offers_that_are_refused_leave_no_record(device):
    with device.open() as store:
        head, size = store.head(), device.ledger.stat().st_size
        for number in range(50):
            store.check_echo(head, f"run-{number}")
            with pytest.raises(PolicyRefusal):
                device.admit(store, bench.question(1, run=f"run-{number}", noise_multiplier=0.1))
        assert device.ledger.stat().st_size == size
        device.spend(store, bench.question(1, run="another", noise_multiplier=60.0))
        assert "anchor" not in kinds(device), "the echo was for another run"


def test_a_restored_ledger_refuses_once_the_coordinator_echoes_its_head(device, tmp_path):
    with device.open() as store:
        device.spend(store, bench.question(1))
        shutil.copytree(device.folder, tmp_path / "backup")
        device.spend(store, bench.question(2))
        head = store.head()
    restored = bench.Device(tmp_path / "backup", identity=device.identity)
    with restored.open() as store, pytest.raises(PolicyRefusal) as caught:
        store.check_echo(head, "run-1")
    assert caught.value.code is RefusalCode.LEDGER_ROLLBACK


def test_a_cloned_device_is_fenced_as_soon_as_both_have_trained(device, tmp_path):
    device.open().close()
    shutil.copytree(device.folder, tmp_path / "clone")
    clone = bench.Device(tmp_path / "clone", identity=device.identity)
    with device.open() as store:
        device.spend(store, bench.question(1))
        head = store.head()
    with clone.open() as store:
        clone.spend(store, bench.question(1, learning_rate=50.0))
        clone.spend(store, bench.question(2))
        with pytest.raises(PolicyRefusal) as caught:
            store.check_echo(head, "run-1")
        assert caught.value.code is RefusalCode.LEDGER_ROLLBACK


def test_a_deleted_ledger_is_never_begun_anew(device):
    device.open().close()
    device.ledger.unlink()
    with pytest.raises(LedgerDamaged, match="gone, although ledger"):
        device.open()
    assert not device.ledger.exists()


def test_a_deleted_ledger_folder_is_never_begun_anew_while_another_data_set_keeps_its_own(
    device, tmp_path
):
    other = bench.Device(tmp_path / "other", identity=device.identity, dataset_id="other")
    for one in (device, other):
        with one.open() as store:
            one.spend(store, bench.question(1, dataset_id=one.dataset_id))
    shutil.rmtree(device.folder)
    with pytest.raises(LedgerDamaged, match=r"gone, although opened\.json") as caught:
        device.open()
    assert caught.value.exit_code == 65
    assert not device.ledger.exists()
    other.open().close()


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[]", b"[" * 10_000, b'{"body":"{}","sig":"00"}', b"\xff"]
)
def test_a_changed_list_of_ledgers_stops_everything(device, tmp_path, damage):
    device.open().close()
    (tmp_path / INDEX).write_bytes(damage)
    with pytest.raises(StateDamaged, match="list of ledgers"):
        device.open()


def test_a_shortened_list_is_not_the_one_this_device_signed(device, tmp_path):
    device.open().close()
    path = tmp_path / INDEX
    outer = json.loads(path.read_bytes())
    shorter = outer | {"body": outer["body"].replace('"ledger"', "")}
    path.write_text(json.dumps(shorter))
    with pytest.raises(StateDamaged):
        device.open()


def test_a_device_from_before_the_list_is_added_to_it(device, tmp_path):
    device.open().close()
    (tmp_path / INDEX).unlink()
    device.open().close()
    shutil.rmtree(device.folder)
    with pytest.raises(LedgerDamaged):
        device.open()


def test_without_the_list_a_deleted_ledger_folder_is_noticed_by_the_echo(device, tmp_path):
    with device.open() as store:
        device.spend(store, bench.question(1))
        head = store.head()
    shutil.rmtree(device.folder)
    (tmp_path / INDEX).unlink()
    with device.open() as store, pytest.raises(PolicyRefusal):
        store.check_echo(head, "run-1")


def test_a_head_of_another_dataset_proves_nothing_and_one_of_another_device_is_refused(
    device, tmp_path
):
    other = bench.Device(tmp_path / "other", identity=device.identity, dataset_id="other")
    with other.open() as store:
        foreign_dataset = store.head()
    with bench.Device(tmp_path / "stranger" / "ledger").open() as store:
        foreign_device = store.head()
    with device.open() as store:
        store.check_echo(foreign_dataset, "run-1")
        assert store.state.seq == 1
        with pytest.raises(ProtocolError):
            store.check_echo(foreign_device, "run-1")
        with pytest.raises(ProtocolError):
            store.check_echo(b"nonsense", "run-1")


def test_another_identity_cannot_continue_a_ledger(device):
    device.open().close()
    with pytest.raises(StateDamaged):
        device.open(signer=Identity.generate())


def test_a_confirmed_policy_names_what_it_allows_from_now_on(tmp_path):
    device = bench.Device(tmp_path / "ledger")
    with device.open() as store:
        assert store.confirmed == ()
    looser = Policy(tell_model=True, rounds_max=20_000)
    with device.open(policy=looser, accept_looser=True) as store:
        assert store.confirmed == ("rounds_max", "tell_model")
    with device.open(policy=looser, accept_looser=True) as store:
        assert store.confirmed == ()
