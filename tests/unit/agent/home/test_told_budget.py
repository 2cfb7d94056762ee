"""A device's word about its budget: told by policy only, from the mechanism only, signed with the head."""

import math
import struct
from dataclasses import replace

import privacy_bench as bench
import pytest
from store_bench import add_agent

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.policy_changes import loosened
from edgeveil.coordinator.records.records import EnrolledAgent
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import PolicyRefusal, ProtocolError, StateDamaged
from edgeveil.shared.base.files import private_directory
from edgeveil.shared.privacy.ledger.heads import SignedHead, ToldBudget
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.wire.identity import Identity

TELLING = Policy(tell_budget=True)


@pytest.fixture
def device(tmp_path):
    return bench.Device(tmp_path / "ledger", policy=TELLING)


def told(store):
    return SignedHead.decode(store.head()).told


def test_nothing_is_told_unless_the_owner_s_policy_says_so(tmp_path):
    silent = bench.Device(tmp_path / "ledger")
    with silent.open() as store:
        silent.spend(store, bench.question(1))
        assert told(store) is None
    with silent.open(policy=TELLING, accept_looser=True) as store:
        assert told(store).epsilon == store.state.epsilon_enforced > 0
    with silent.open() as store:
        assert told(store) is None


def test_telling_needs_the_owner_s_word_and_silence_does_not():
    assert loosened(Policy(), TELLING) == ("tell_budget",)
    assert loosened(TELLING, Policy()) == ()


def test_what_is_told_is_what_the_ledger_enforces(device):
    with device.open() as store:
        assert told(store) == ToldBudget(0.0, 8.0, 1e-5, 0)
        device.spend(store, bench.question(1))
        spent = told(store)
        assert spent == ToldBudget(store.state.epsilon_enforced, 8.0, 1e-5, 0)
        store.reset("owner")
        assert told(store) == ToldBudget(0.0, 8.0, 1e-5, 1)


def test_it_follows_from_the_mechanism_and_not_from_what_was_trained(tmp_path):
    """Two devices with other updates, other numbers of steps done and other keys tell the same."""
    words = []
    for name, blob, done in (("a", b"one update", 1), ("b", b"another", 2)):
        device = bench.Device(tmp_path / name / "ledger", policy=TELLING)
        with device.open() as store:
            asked = bench.question(1)
            store.reserve(device.admit(store, asked))
            store.seal(asked.attempt, blob, steps_done=done, gradient_mode="hooks")
            words.append(told(store).encode())
    assert words[0] == words[1]


def test_the_signature_covers_what_is_told(device):
    with device.open() as store:
        head = SignedHead.decode(store.head())
    head.verify(device.identity.public, "the device")
    for forged in (
        replace(head, told=replace(head.told, epsilon_max=4.0)),
        replace(head, told=None),
        replace(head, seq=head.seq + 1),
    ):
        with pytest.raises(ProtocolError):
            forged.verify(device.identity.public, "the device")


def test_a_head_that_tells_is_still_echoed_and_still_finds_a_rollback(device, tmp_path):
    with device.open() as store:
        device.spend(store, bench.question(1))
        store.check_echo(store.head(), "run-1")
        head = store.head()
    other = bench.Device(tmp_path / "fresh", identity=device.identity, policy=TELLING)
    with other.open() as store, pytest.raises(PolicyRefusal, match="restored"):
        store.check_echo(head, "run-1")


@pytest.mark.parametrize(
    "numbers",
    [
        (math.nan, 8.0, 1e-5), (math.inf, 60.0, 1e-5), (-1.0, 8.0, 1e-5), (-0.0, 8.0, 1e-5),
        (1e5, 8.0, 1e-5), (1.0, 0.0, 1e-5), (1.0, 51.0, 1e-5), (1.0, 8.0, 0.0), (1.0, 8.0, 0.1),
        (1.0, math.nan, 1e-5), (1.0, 8.0, math.nan),
    ],
)  # fmt: skip
def test_a_budget_that_no_ledger_can_have_is_malformed(numbers):
    with pytest.raises(Malformed):
        ToldBudget.decode(ToldBudget(*numbers, resets=0).encode())


def test_a_budget_that_nothing_limits_is_told_as_that_and_never_as_a_number():
    word = ToldBudget(math.inf, 8.0, 1e-5, 2)
    assert ToldBudget.decode(word.encode()) == word
    number = ToldBudget(3.25, 8.0, 1e-5, 2).encode()
    with pytest.raises(Malformed):
        ToldBudget.decode(number.replace(struct.pack(">d", 3.25), struct.pack(">d", math.inf)))


def test_its_encoding_is_small_and_reads_back():
    word = ToldBudget(3.25, 8.0, 1e-5, 2)
    assert ToldBudget.decode(word.encode()) == word
    assert len(word.encode()) < 100


def test_the_store_gives_what_agents_in_force_told(tmp_path, device):
    with device.open() as store:
        device.spend(store, bench.question(1))
        telling, spent = store.head(), store.state.epsilon_enforced
    quiet = bench.Device(tmp_path / "quiet" / "ledger")
    with quiet.open() as store:
        silent = store.head()
    with Store.open(private_directory(tmp_path / "home"), create=True) as store:
        for number, head in enumerate((telling, silent, telling, b"")):
            agent = enrolled(number)
            add_agent(store, agent)
            if head:
                store.set_ledger_head(agent.agent_id, head)
        store.revoke("agent-2")
        assert store.told_budgets() == {"agent-0": ToldBudget(spent, 8.0, 1e-5, 0)}
        store.set_ledger_head(bytes(16), b"damaged")
        with pytest.raises(StateDamaged, match="ledger head"):
            store.told_budgets()


def enrolled(number):
    public = Identity.generate().public
    return EnrolledAgent(bytes([number]) * 16, f"agent-{number}", public, f"key {number}".encode(), 1.0)  # fmt: skip
