"""What a device does by itself follows what its owner has confirmed, and not what stands in policy.toml alone."""

import shutil

import pytest
from privacy_bench import FrozenClock

from edgeveil.agent.delivery.confirmed import in_force
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import ModelPolicy, Policy
from edgeveil.agent.home.size import Size
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.privacy.ledger.records import LedgerDamaged

KEY, OTHER = "ab" * 32, "cd" * 32
OPEN = Policy(tell_model=True, model=ModelPolicy(fetch=True, worse_max=0.5))


@pytest.fixture
def home(tmp_path):
    made = AgentHome(tmp_path / "home")
    made.ensure_keys()
    return made


def written(home, policy):
    home.policy_path.write_text(policy.to_toml())


def chained(home, policy, *, dataset="first", accept=False):
    """A ledger of this home under `policy`; an open one takes it, confirmed with `accept`."""
    values = {"signer": home.identity(), "dataset_id": dataset, "unit": "record", "policy": policy, "clock": FrozenClock(), "accept_looser": accept}  # fmt: skip
    folder = home.ledger_folder / dataset
    if (folder / "ledger.jsonl").exists():
        LedgerStore.open(folder, attempts={}, **values).close()
    else:
        LedgerStore.create(folder, size=Size(1000), **values).close()


def acts(home):
    found = in_force(home.path)
    return found.fetches, found.tells_model, found.worse_max


def test_without_a_ledger_the_file_is_the_owners_word(home):
    assert acts(home) == (False, False, 0.1)
    written(home, OPEN)
    assert acts(home) == (True, True, 0.5)


def test_what_was_edited_by_hand_and_allows_more_counts_once_it_is_confirmed(home):
    chained(home, Policy())
    written(home, OPEN)
    assert acts(home) == (False, False, 0.1)
    with pytest.raises(ConfigError, match="tell_model"):
        chained(home, OPEN)
    assert acts(home) == (False, False, 0.1)
    chained(home, OPEN, accept=True)
    assert acts(home) == (True, True, 0.5)


def test_what_allows_less_counts_at_once(home):
    chained(home, OPEN)
    written(home, Policy())
    assert acts(home) == (False, False, 0.1)


def test_every_ledger_of_the_home_has_to_have_confirmed_it(home):
    written(home, OPEN)
    chained(home, OPEN)
    chained(home, Policy(), dataset="second")
    assert acts(home) == (False, False, 0.1)


def test_a_coordinator_is_taken_only_where_all_of_them_name_it(home):
    chained(home, Policy(coordinators=(KEY,)))
    written(home, Policy(coordinators=(KEY, OTHER)))
    found = in_force(home.path)
    assert (found.takes(KEY), found.takes(OTHER)) == (True, False)


def test_a_ledger_that_cannot_be_trusted_confirms_nothing(home):
    chained(home, OPEN)
    written(home, OPEN)
    path = home.ledger_folder / "first/ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"note', b'"nope', 1).replace(b"first", b"worst", 1))  # fmt: skip
    path.with_name("ledger.bookmark").unlink(missing_ok=True)
    with pytest.raises(LedgerDamaged):
        in_force(home.path)


def test_another_true_ledger_of_the_device_in_its_place_confirms_nothing(home, tmp_path):
    """The bookmark attests the bytes that were replaced: what it says of them is not what these say."""
    chained(home, Policy())
    other = AgentHome(shutil.copytree(home.path, tmp_path / "other"))
    shutil.rmtree(other.ledger_folder)
    chained(other, OPEN)
    for name in ("ledger.jsonl", "ledger.bookmark"):
        assert (home.ledger_folder / "first" / name).exists()
    shutil.copy(other.ledger_folder / "first/ledger.jsonl", home.ledger_folder / "first")
    written(home, OPEN)
    with pytest.raises(LedgerDamaged, match="does not continue the"):
        in_force(home.path)


def test_the_ledger_of_another_data_set_or_none_where_one_was_confirms_nothing(home):
    chained(home, Policy())
    chained(home, OPEN, dataset="second")
    written(home, OPEN)
    first, second = home.ledger_folder / "first", home.ledger_folder / "second"
    kept = (first / "ledger.jsonl").read_bytes()
    for name in ("ledger.jsonl", "ledger.bookmark"):
        shutil.copy(second / name, first / name)
    with pytest.raises(LedgerDamaged, match="another data set"):
        in_force(home.path)
    (first / "ledger.jsonl").unlink()
    with pytest.raises(LedgerDamaged, match="is gone"):
        in_force(home.path)
    (first / "ledger.bookmark").unlink()
    (first / "ledger.jsonl").write_bytes(kept)
    assert acts(home) == (False, False, 0.1)
