"""Whatever a coordinator sends, in whatever order, the device's epsilon stays within its policy."""

import tempfile
from contextlib import suppress
from pathlib import Path

import privacy_bench as bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgeveil.agent.home.policy import Policy
from edgeveil.shared.base.errors import BudgetExhausted, PolicyRefusal
from edgeveil.shared.privacy.filter import admits, cap, choose_order, steps_left
from edgeveil.shared.privacy.ledger.state import Phase
from edgeveil.shared.privacy.rdp import Segment, epsilon, rdp_step, to_epsilon

SIGMAS = st.floats(0.05, 500.0)
RATES = st.one_of(st.just(1.0), st.floats(1e-6, 1.0), st.floats(0.0, 1.0, exclude_min=True))
PLANS = st.fixed_dictionaries(
    {
        "noise_multiplier": st.one_of(SIGMAS, st.floats(0, exclude_min=True, allow_infinity=False)),
        "sample_rate": RATES,
        "steps": st.integers(1, 3000),
        "clip_norm": st.floats(1e-6, 1e6),
        "learning_rate": st.floats(1e-9, 1e9),
        "delta": st.floats(1e-12, 0.5),
        "rounds": st.integers(1, 20_000),
    }
)


@given(
    budget=st.floats(0.1, 50.0),
    delta=st.floats(1e-9, 1e-3),
    asked=st.lists(st.tuples(SIGMAS, RATES, st.integers(1, 500)), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_what_the_filter_admits_is_worth_at_most_the_budget(budget, delta, asked):
    order = choose_order(budget, delta)
    limit = cap(budget, delta, order)
    spent, history = 0.0, []
    for sigma, q, steps in asked:
        added = steps * rdp_step(sigma, q, order)
        if admits(spent, added, limit):
            spent += added
            history.append(Segment(sigma, q, steps))
    assert to_epsilon(spent, order, delta) <= budget + 1e-9
    assert epsilon(history, delta)[0] <= budget + 1e-9


@given(spent=st.floats(0.0, 10.0), step=st.floats(1e-6, 5.0), limit=st.floats(0.1, 10.0))
def test_steps_left_is_the_exact_boundary(spent, step, limit):
    steps = steps_left(spent, step, limit)
    assert steps == 0 or admits(spent, steps * step, limit)
    assert not admits(spent, (steps + 1) * step, limit)


@given(sigma=SIGMAS, q=RATES, order=st.integers(2, 256))
@settings(deadline=None)
def test_more_noise_fewer_records_or_a_lower_order_never_cost_more(sigma, q, order):
    cost = rdp_step(sigma, q, order)
    assert cost > 0
    assert rdp_step(sigma * 1.1, q, order) <= cost
    assert rdp_step(sigma, q * 0.9, order) <= cost
    if order > 2:
        assert rdp_step(sigma, q, order - 1) <= cost * (1 + 1e-12)


class Coordinator(RuleBasedStateMachine):
    """Sends any proposal, interrupts and restarts the device at any step."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        policy = Policy(steps_max=3000, rounds_max=20_000, sigma_min=0.05)
        self.device = bench.Device(Path(self.folder.name) / "ledger", policy=policy)
        self.store = self.device.open()
        self.trained = 0.0  # divergence of all training that really started
        self.round = 0
        self.submitted = set()

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    @rule(
        plan=PLANS, advance=st.integers(0, 2), attempt=st.integers(1, 3), run=st.sampled_from("ab")
    )
    def propose(self, plan, advance, attempt, run):
        self.round += advance
        self._run(bench.question(max(1, self.round), attempt, run=run, **plan))

    @rule(
        sigma=st.floats(2.0, 60.0),
        steps=st.integers(1, 40),
        until=st.sampled_from(["reserve", "seal", "submit", "ack"]),
    )
    def propose_something_sensible(self, sigma, steps, until):
        self.round += 1
        plan = {"noise_multiplier": sigma, "steps": steps, "rounds": self.round}
        self._run(bench.question(self.round, **plan), until)

    @precondition(lambda self: self.store.state.current is not None)
    @rule()
    def send_the_last_question_again(self):
        last = self.store.state.current.attempt
        self._run(bench.question(last.round, last.attempt, run=last.run_id))

    @rule()
    def restart(self):
        self.store.close()
        self.store = self.device.open()

    @rule(delta=st.floats(-1.0, 1.0))
    def send_an_echo(self, delta):
        self.store.check_echo(self.store.head(), f"run {delta > 0}")

    def _run(self, asked, until="ack"):
        try:
            reservation = self.device.admit(self.store, asked)
            if not reservation.free:
                self.store.reserve(reservation)
                state = self.store.state
                self.trained += asked.plan.steps * state.rdp_step(*asked.segment[:2])
                if until == "reserve":
                    return
                self.store.seal(asked.attempt, b"u", steps_done=1, gradient_mode="ghost")
            if until == "seal":
                return
            self.store.submit(asked.attempt, b"x" * 32)
            key = (self.store.state.current.plan_hash, self.store.state.rounds_charged)
            assert key not in self.submitted, "one reservation left the device twice"
            self.submitted.add(key)
            if until == "ack":
                self.store.ack(asked.attempt)
        except (PolicyRefusal, BudgetExhausted):
            return

    @invariant()
    def the_ledger_counts_all_training_and_stays_within_the_policy(self):
        state = self.store.state
        assert state.rdp_spent >= self.trained * (1 - 1e-9)
        assert state.epsilon_enforced <= state.epsilon_max
        assert state.epsilon_spent <= state.epsilon_max
        assert state.current is None or state.current.phase in Phase


TestAnyCoordinator = Coordinator.TestCase
TestAnyCoordinator.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@given(plan=PLANS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_refusal_is_typed_and_leaves_the_ledger_unchanged(plan):
    with tempfile.TemporaryDirectory() as folder:
        device = bench.Device(Path(folder) / "ledger")
        with device.open() as store:
            before = device.ledger.read_bytes()
            with suppress(PolicyRefusal):
                device.admit(store, bench.question(1, **plan))
            assert device.ledger.read_bytes() == before
