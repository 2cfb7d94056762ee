"""A coordinator that lies about noise in shares, against whole agents: each lie is refused, and charged as it was declared.

The agents' own sets, per size of a cohort, and survivors that are none: tests/unit/shared/secagg/test_secagg_honest.py. A token of one machine,
and an owner who never allowed it: tests/integration/test_noise_in_shares.py.
"""

from dataclasses import replace

import pytest
from evil_bench import Lies
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.home.policy import SharedNoise
from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.secagg.agreement import context, messages
from edgeveil.shared.wire.messages import RoundAccept, Stage
from edgeveil.shared.wire.plan import TrainingPlan

SHARED = SharedNoise(epsilon_sum_max=3.0, federation_key="offline")
HONEST, ROUNDS = 4, 30
PLAN = plan_for(
    5,
    training__steps=1,
    training__epsilon=12.0,
    privacy__noise="shared",
    privacy__honest=HONEST,
    privacy__epsilon_sum=3.0,
    rounds__count=ROUNDS,
    rounds__minimum=HONEST,
    secagg__n_max=6,
)


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    policy = POLICY.model_copy(update={"epsilon_max": 12.0})
    made = Federation(tmp_path_factory.mktemp("lies"), 5, offline=True, policy=policy, records=20)
    made.allow({"shared_noise": SHARED})
    yield made
    made.close()


@pytest.fixture
def lies(federation):
    return Lies(federation, PLAN)


def sums(lies):
    return read_budget(lies.home.path).epsilon_sum


def seals(lies):
    records = ledger_records(lies.home.ledger_folder / "data", lies.home.identity().public)
    return [record.text("blob_sha256") for record in records if record.kind == "seal"]


def told(lies, plan):
    """The victim's offer with a plan of its own, under the context that goes with it."""
    config = context.config_hash(lies.proposal.params.encode(), plan)
    opened = context.context(
        federation_id=lies.proposal.roster.roster.federation_id,
        run_id=lies.attempt.run_id,
        round_number=lies.attempt.round,
        attempt=lies.attempt.attempt,
        shard=0,
        task_hash=lies.proposal.task.task_hash(),
        model_hash=lies.proposal.model_hash,
        config_hash=config,
        roster_hash=lies.proposal.roster.roster.hash(),
    )
    return lies.offer(plan_json=plan, ctx=opened)


def test_a_lower_h_would_show_more_in_sums_and_is_refused_uncharged(lies):
    plan = lies.proposal.plan.model_copy(update={"honest": HONEST // 2})
    lies.refused(told(lies, plan.to_json()), "POLICY_SIGMA", charged=0, words="epsilon_sum_max 3")


def test_an_h_of_one_is_no_plan(lies):
    text = lies.proposal.plan.to_json().replace(b'"honest":4', b'"honest":1')
    with pytest.raises(ProtocolError):
        TrainingPlan.from_json(text)
    lies.refused(told(lies, text), "MALFORMED", charged=0)


def test_the_noise_of_a_share_called_whole_is_refused_uncharged(lies):
    """The noise of one share, all of which this agent would be the only one to know of."""
    plan = lies.proposal.plan.model_copy(update={"honest": 0, "noise_bits": 0})
    lies.refused(told(lies, plan.to_json()), "POLICY_SIGMA", charged=0)


def test_one_agent_told_another_mode_is_charged_for_that_mode_and_ends_at_the_cohort(lies):
    sigma = 2.01 * lies.proposal.plan.noise_multiplier
    local = {"honest": 0, "noise_bits": 0, "noise_multiplier": sigma}
    lies.offers[lies.victim] = told(lies, lies.proposal.plan.model_copy(update=local).to_json())
    (action,) = lies.machine.start(0.0)
    following, before = [], read_budget(lies.home.path)
    for agent in action.agents:
        reply = lies.federation.sessions[agent].handle(lies.offers[agent])
        assert reply.refusal is None, reply.refusal
        advert = RoundAccept.decode(reply.body).advert
        following += lies.machine.reply(agent, Stage.ROUND, advert, None, 0.0)
    assert lies.machine.dropped == {lies.victim: "invalid:CTX_MISMATCH"}
    body = next(iter(following[0].bodies.values()))
    lies.refused(lies.signed(Stage.SHARE, body), "U1_INVALID", charged=1)
    spent = read_budget(lies.home.path)
    assert spent.rounds_shared == before.rounds_shared
    assert spent.epsilon_sum > before.epsilon_sum


@pytest.mark.parametrize("stage", [Stage.SHARE, Stage.MASKED, Stage.AGREE])
def test_sets_below_h_get_no_shares_no_vector_and_no_signature(lies, stage):
    body, lie = lies.until(stage), None
    match stage:
        case Stage.SHARE:
            asked = messages.ShareRequest.decode(body, 10)
            few = asked.cohort[: HONEST - 1]
            near = tuple(each for each in asked.neighbours if each.agent_id in dict(few))
            lie = replace(asked, cohort=few, neighbours=near, k=2, t=2, quorum=2)
        case Stage.MASKED:
            lie = replace(messages.MaskedRequest.decode(body, 10), u2=b"\x07")
        case Stage.AGREE:
            lie = messages.AgreeRequest(b"\x07")
    before = sums(lies)
    lies.refused(lies.signed(stage, lie.encode()), "COHORT_TOO_SMALL", charged=1)
    assert sums(lies) == before, "charged when it was trained, and not again"
    lies.over(stage, body)


def test_a_share_is_free_in_another_cohort_until_it_was_submitted_and_new_noise_after(lies):
    lies.until(Stage.MASKED)  # sealed, and never submitted
    first, paid = seals(lies), read_budget(lies.home.path)
    fewer = lies.selected[:HONEST]
    second = Lies(lies.federation, PLAN, attempt=replace(lies.attempt, attempt=2), selected=fewer)
    second.until(Stage.AGREE)
    assert any("masking the sealed update again" in said for said in lies.federation.statuses)
    again = read_budget(lies.home.path)
    assert (again.rounds, again.epsilon_sum, seals(lies)) == (paid.rounds, paid.epsilon_sum, first)
    third = Lies(lies.federation, PLAN, attempt=replace(lies.attempt, attempt=3))
    third.until(Stage.SHARE)
    anew = read_budget(lies.home.path)
    assert anew.rounds == paid.rounds + 1
    assert anew.epsilon_sum > paid.epsilon_sum
    assert len(set(seals(lies))) == len(first) + 1, "the same noise is never in two sums"


def test_a_submitted_share_leaves_for_no_second_set(lies):
    lies.until(Stage.AGREE)
    other = messages.MaskedRequest(b"\x0f", ()).encode()
    lies.refused(lies.signed(Stage.MASKED, other), "EQUIVOCATION", charged=1)
