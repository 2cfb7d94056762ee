"""Rounds with noise in shares on the ledger: by the owner's word, two limits, one record, older records in both."""

import json
import math
from dataclasses import replace

import privacy_bench as bench
import pytest
from report_bench import joined_device, report
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.home.policy import Policy, SharedNoise
from edgeveil.agent.home.policy_changes import loosened
from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.ledger.budget_reset import look, reset
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.agent.ledger.guard import Reservation, precheck
from edgeveil.agent.reports.page_view import own_state, page
from edgeveil.agent.reports.report_page import page as report_page
from edgeveil.agent.reports.verify import Verdict, check
from edgeveil.shared.base.errors import BudgetExhausted, ConfigError, PolicyRefusal, RefusalCode
from edgeveil.shared.pages.words import LANGUAGES
from edgeveil.shared.privacy.ledger.bookmark import Bookmark
from edgeveil.shared.privacy.ledger.records import Fault, Kind, LedgerDamaged, Record
from edgeveil.shared.privacy.ledger.replay import replay
from edgeveil.shared.privacy.rdp import Segment, epsilon
from edgeveil.shared.privacy.shared_noise import shares

WORD = SharedNoise(epsilon_sum_max=1.0, federation_key="offline")
SHARES = {"steps": 1, "noise_multiplier": 20.0, "honest": 6, "noise_bits": 20, "rounds": 20}


@pytest.fixture
def device(tmp_path):
    """Two local rounds, then the owner's word."""
    made = joined_device(tmp_path)
    made.train(2)
    word = 'shared_noise={epsilon_sum_max=1.0,federation_key="offline"}'
    assert run(made, "policy", "set", word, "--yes").exit_code == 0
    made.set_policy(Policy.load(made.home.policy_path))
    return made


def run(device, *arguments):
    return CliRunner().invoke(app, [*arguments, "--home", str(device.path)])


def asked(number=3, attempt=1, **changes):
    return bench.question(number, attempt, **{**SHARES, **changes})


def admit(device, store, question, offline=True):
    policy = device.device.policy
    return precheck(question, policy, store.state, pinned=bench.COORDINATOR, offline=offline)


def spend(device, number=3, until="ack", **changes):
    with device.device.open() as store:
        question = asked(number, **changes)
        store.reserve(admit(device, store, question))
        if until == "reserve":
            return
        store.seal(question.attempt, b"integers", steps_done=1, gradient_mode="ghost")
        store.submit(question.attempt, b"x" * 32)
        store.ack(question.attempt)


def records(device):
    return list(ledger_records(device.ledger.parent, device.home.identity().public))


def state(device):
    return replay(records(device))


def test_both_costs_stand_in_one_record_and_older_rounds_count_in_both(device):
    before = state(device)
    assert before.epsilon_sum == before.epsilon_spent > 0
    spend(device)
    after = state(device)
    summed, alone = shares(20.0, 6)
    assert after.history == (*before.history, alone)
    assert after.sum_history == (*before.history, summed)
    assert after.epsilon_sum == pytest.approx(epsilon([*before.history, summed], 1e-5)[0])
    assert after.epsilon_spent == pytest.approx(epsilon([*before.history, alone], 1e-5)[0])
    assert after.epsilon_sum < after.epsilon_spent
    assert [r.kind for r in records(device)].count(Kind.SHARED) == 1
    assert check(device.path, None, None).verdict is Verdict.OK


def test_records_of_earlier_formats_are_continued_and_never_rewritten(device):
    """The chain of format 3 goes on in 4; a record of 3 is read as it always was."""
    lines = device.ledger.read_bytes()
    spend(device)
    assert device.ledger.read_bytes().startswith(lines)
    signer, made, previous = device.home.identity(), [], bytes(32)
    for record in records(device):
        body = dict(record.body) | ({"v": 3} if record.kind is not Kind.SHARED else {})
        made.append(Record.make(body, previous, signer))
        previous = made[-1].hash
    assert replay(made).sum_history == state(device).sum_history


@pytest.mark.parametrize("word", [None, WORD], ids=["no word", "one machine"])
def test_it_needs_the_owners_word_and_a_token_that_says_offline(tmp_path, word):
    made = joined_device(tmp_path)
    if word is not None:
        made.set_policy(Policy(shared_noise=word))
    with made.device.open(accept_looser=True) as store, pytest.raises(PolicyRefusal) as refusal:
        admit(made, store, asked(1), offline=word is None)
    assert refusal.value.code is RefusalCode.POLICY_NOISE


def test_the_word_is_a_loosening_and_every_ledger_begins_without_it(tmp_path):
    assert loosened(Policy(), Policy(shared_noise=WORD)) == ("shared_noise",)
    assert loosened(Policy(shared_noise=WORD), Policy()) == ("shared_noise.epsilon_sum_max",)
    assert loosened(Policy(shared_noise=WORD), Policy(epsilon_max=WORD.epsilon_sum_max)) == ()
    wider = SharedNoise(epsilon_sum_max=2.0, federation_key="offline")
    assert loosened(Policy(shared_noise=WORD), Policy(shared_noise=wider)) == (
        "shared_noise.epsilon_sum_max",
    )
    made = joined_device(tmp_path)
    made.set_policy(Policy(shared_noise=WORD))
    with pytest.raises(ConfigError, match="shared_noise"):
        made.device.create()
    made.device.create(accept_looser=True).close()
    opened, chained = records(made)
    assert "shared_noise" not in opened.text("policy")
    assert chained.text("note_code") == "loosened"


def test_the_least_noise_that_the_owner_allows_is_verified_as_allowed(device):
    least = Policy(sigma_min=20.0, shared_noise=WORD)
    device.set_policy(least)
    device.device.open().close()
    spend(device)
    assert check(device.path, None, None).verdict is Verdict.OK


@pytest.mark.parametrize("odd", [{"noise_multiplier": 1e6, "honest": 2}, {"noise_multiplier": 9e5, "honest": 100}])  # fmt: skip
def test_noise_beyond_what_can_be_charged_is_refused_by_name(device, odd):
    with device.device.open() as store, pytest.raises(PolicyRefusal) as refusal:
        admit(device, store, asked(**odd))
    assert refusal.value.code is RefusalCode.POLICY_SIGMA


def test_a_policy_without_the_word_has_the_bytes_it_always_had():
    assert "shared_noise" not in Policy().to_json()
    given = Policy(shared_noise=WORD)
    assert Policy.from_json(given.to_json()) == given
    assert "shared_noise = {" in given.to_toml()


@pytest.mark.parametrize("wrong", [{"epsilon_sum_max": 9.0}, {"epsilon_sum_max": 0}, {"federation_key": "here"}, {"epsilon_sum_max": math.nan}])  # fmt: skip
def test_a_word_that_means_nothing_is_a_mistake(wrong):
    with pytest.raises(ConfigError):
        Policy.parse(
            {"shared_noise": {"epsilon_sum_max": 1.0, "federation_key": "offline", **wrong}}, "p"
        )


def test_sums_end_at_their_own_limit_while_the_other_has_room(device):
    """64 more steps of √6·20 fit into what is left of 1.0; the share alone would go on to 8.0."""
    with device.device.open() as store:
        left = store.state.sum_steps_left(asked().summed.noise_multiplier, 1.0)
        assert 3 < left < store.state.steps_left(asked().segment.noise_multiplier, 1.0)
        for number in range(3, 3 + left):
            store.reserve(admit(device, store, asked(number, rounds=number)))
        last = asked(3 + left, rounds=3 + left)
        with pytest.raises(BudgetExhausted) as refusal:
            admit(device, store, last)
        assert refusal.value.code is RefusalCode.BUDGET_EXHAUSTED
        assert "epsilon_sum_max" in str(refusal.value)
        with pytest.raises(BudgetExhausted):
            store.reserve(Reservation(last, free=False))
        assert store.state.epsilon_sum <= 1.0 < store.state.epsilon_spent
        local = bench.question(3 + left, rounds=3 + left, steps=4, noise_multiplier=60.0)
        with pytest.raises(BudgetExhausted):  # a sum of local noise shows as much as it ever did
            admit(device, store, local)


def test_a_share_alone_ends_at_epsilon_max_while_sums_have_room(tmp_path):
    made = joined_device(tmp_path)
    made.set_policy(Policy(epsilon_max=1.0, shared_noise=WORD))
    with made.device.open(accept_looser=True) as store:
        left = store.state.steps_left(asked().segment.noise_multiplier, 1.0)
        assert left < store.state.sum_steps_left(asked().summed.noise_multiplier, 1.0)
        for number in range(1, 1 + left):
            store.reserve(admit(made, store, asked(number, rounds=number)))
        with pytest.raises(BudgetExhausted):
            admit(made, store, asked(1 + left, rounds=1 + left))


def test_a_plan_that_lowers_h_is_charged_for_the_h_that_it_states(device):
    high, low = asked(honest=6).summed, asked(honest=3).summed
    assert low.noise_multiplier == pytest.approx(high.noise_multiplier / math.sqrt(2))
    with device.device.open() as store:
        question = asked(3)
        store.reserve(admit(device, store, question))
        store.seal(question.attempt, b"integers", steps_done=1, gradient_mode="ghost")
        again, lowered = asked(3, 2), asked(3, 2, honest=3)
        assert store.sealed_blob(admit(device, store, again)) == b"integers"
        found = admit(device, store, lowered)
        assert not found.free
        assert store.sealed_blob(found) is None
        store.reserve(found)
        assert store.state.shared == 2


def test_a_sealed_share_is_free_until_it_was_submitted_and_never_after(device):
    with device.device.open() as store:
        question = asked(3)
        store.reserve(admit(device, store, question))
        store.seal(question.attempt, b"integers", steps_done=1, gradient_mode="ghost")
        assert admit(device, store, asked(3, 2)).free
        assert not admit(device, store, asked(3, 2, model_hash=b"n" * 32)).free
        store.submit(asked(3, 2).attempt, b"x" * 32)
        found = admit(device, store, asked(3, 3))
        assert not found.free
        assert store.sealed_blob(found) is None


def test_a_reset_forgets_both_and_the_order_of_sums_stays(device):
    spend(device)
    order = state(device).sum_alpha
    reset(device.path, look(device.path, None), bench.FrozenClock())
    after = state(device)
    assert after.sum_history == after.history == ()
    assert (after.shared, after.sum_alpha) == (0, order)
    found = json.loads(run(device, "budget", "--json", "--no-prv").stdout)
    assert (found["epsilon_sum"], found["epsilon_spent"], found["rounds_shared"]) == (0, 0, 0)


def test_a_bookmark_keeps_both_columns(device):
    spend(device)
    whole, signer = state(device), device.home.identity()
    data = device.ledger.read_bytes()
    mark = Bookmark(len(data), bytes(32), whole)
    assert Bookmark.decode(mark.encode(signer), signer.public).state == whole


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"sum_sigma": (60.0).hex()}, Fault.ARITHMETIC),
        ({"honest": 7}, Fault.ARITHMETIC),
        ({"honest": 1}, Fault.ARITHMETIC),
        ({"steps_planned": 2}, Fault.ARITHMETIC),
        ({"sum_alpha": 5}, Fault.ARITHMETIC),
        ({"sum_rdp_step": (0.0).hex()}, Fault.ARITHMETIC),
        ({"sum_rdp_spent": (0.0).hex()}, Fault.ARITHMETIC),
        ({"sum_epsilon_enforced": (0.1).hex()}, Fault.ARITHMETIC),
        ({"rdp_spent": (0.0).hex()}, Fault.ARITHMETIC),
    ],
    ids=str,
)
def test_verify_finds_a_false_figure_of_either_column_though_the_device_signed_it(
    device, change, fault
):
    spend(device, until="reserve")
    *kept, last = records(device)
    forged = Record.make({**last.body, **change}, kept[-1].hash, device.home.identity())
    with pytest.raises(LedgerDamaged) as damage:
        replay([*kept, forged])
    assert damage.value.fault is fault


def test_a_round_in_shares_under_a_policy_that_does_not_allow_it_is_damage(tmp_path, device):
    spend(device, until="reserve")
    word = next(r for r in records(device) if r.kind is Kind.POLICY)
    rest = [r for r in records(device) if r.seq != word.seq]
    signer, previous, made = device.home.identity(), bytes(32), []
    for seq, record in enumerate(rest, start=1):
        made.append(Record.make({**record.body, "seq": seq}, previous, signer))
        previous = made[-1].hash
    with pytest.raises(LedgerDamaged) as damage:
        replay(made)
    assert damage.value.fault is Fault.BUDGET


def test_the_owner_is_shown_both(device):
    spend(device)
    shown = run(device, "budget").stdout
    assert shown.index("█ ε of sums") < shown.index("▒ ε alone")
    found = json.loads(run(device, "budget", "--json", "--no-prv").stdout)
    assert found["epsilon_sum"] < found["epsilon_spent"] == found["epsilon_alone"]
    first, *_, last = found["after_rounds"]
    assert first["epsilon_sum"] == pytest.approx(first["epsilon_spent"])
    assert last["epsilon_sum"] == pytest.approx(found["epsilon_sum"])
    assert last["epsilon_spent"] == pytest.approx(found["epsilon_spent"])
    assert (found["epsilon_sum_limit"], found["rounds_shared"]) == (1.0, 1)
    plain = joined_device(device.path.parent / "other")
    plain.train(1)
    assert "epsilon_sum" not in run(plain, "budget", "--json", "--no-prv").stdout


def test_the_planner_starts_with_both_columns_and_aims_at_the_limit_of_sums(device):
    spend(device, noise_multiplier=40.0)
    plan = ("budget", "plan", "--shared", "--honest", "6", "--rounds", "5", "--ledger", "--json")
    found, before = json.loads(run(device, *plan).stdout), state(device)
    assert before.epsilon_sum < found["epsilon_sum"] <= 1.0
    assert before.epsilon_spent < found["epsilon_alone"] < 8.0
    fits = asked(4, rounds=8, noise_multiplier=found["noise_multiplier_share"] * (1 + 1e-6))
    with device.device.open() as store:
        assert not admit(device, store, fits).free
        with pytest.raises(PolicyRefusal):
            admit(device, store, asked(4, rounds=8, noise_multiplier=found["noise_multiplier_share"] * 0.99))  # fmt: skip


def test_report_both_pages_and_verify_show_both_figures(device, tmp_path):
    spend(device)
    two = read_budget(device.path).two
    made, path, _ = report(device, tmp_path)
    sums = made["guarantee"]["sums"]
    assert (sums["epsilon_sum"], sums["epsilon_alone"]) == (two.sums, two.alone)
    assert "at least 6 honest agents" in sums["epsilon_sum_holds"]
    for lang in LANGUAGES:
        own, whole = page(own_state(device.path, "data"), lang), report_page(made, lang)
        assert own.count('class="mark"') == whole.count('class="mark"') == 1
        assert all(f"{said}</li>" in own for said in two.sentences(lang))
        assert all(f"{said}</li>" in whole for said in replace(two, honest=6).sentences(lang))
    found = check(device.path, None, path)
    assert found.verdict is Verdict.OK
    assert set(two.sentences(form=".6g")) <= set(found.checked)


def test_before_a_first_ledger_the_planner_aims_at_the_limit_of_sums(tmp_path):
    """And at that of each share, where it needs more noise."""
    made = joined_device(tmp_path)
    plan = ("budget", "plan", "--shared", "--honest", "6", "--rounds", "5", "--ledger")
    for most, column in ((8.0, "epsilon_sum"), (1.0, "epsilon_alone")):
        made.set_policy(Policy(epsilon_max=most, shared_noise=WORD))
        found = json.loads(run(made, *plan, "--json").stdout)
        assert 0.99 < found[column] <= 1.0
        assert found["epsilon_sum"] <= found["epsilon_alone"] <= most
    told = run(made, *plan).stdout
    assert "at least 6 honest agents" in told
    assert "even if nobody but the device itself is honest" in told


def test_one_step_of_a_share_is_a_gaussian_step_a_billionth_noisier():
    assert asked().segment == Segment(20.0 * (1 - 1e-9), 1.0, 1)
