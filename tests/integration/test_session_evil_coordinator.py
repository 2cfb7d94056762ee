"""A lying coordinator against the whole agent: real session, policy, ledger and training.

Each lie is signed by the real coordinator key, so only the agent's own checks stand against it. After
each: nothing but a code left the device, the ledger is charged for every training and never refunded,
the owner's status says why, and the honest request that follows is refused as well.
"""

from dataclasses import replace

import numpy as np
import pytest
from evil_bench import Lies
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.ledger.budget import read_budget
from edgeveil.shared.secagg.agreement import context, messages
from edgeveil.shared.secagg.primitives.parameters import SIGNED, Params, Segment
from edgeveil.shared.vector.model_vector import model_hash
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.messages import (
    RoundAccept,
    RoundOffer,
    Stage,
    make_request,
)
from edgeveil.shared.wire.roster import Roster, SignedRoster, agent_id
from edgeveil.shared.wire.versions import Versions

PLAN = plan_for(4, rounds__count=400, training__steps=1, training__epsilon=8.0)


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    made = Federation(tmp_path_factory.mktemp("evil"), policy=POLICY)
    for home in made.homes:
        home.policy_path.write_text(POLICY.to_toml())
    yield made
    made.close()


@pytest.fixture
def lies(federation):
    return Lies(federation, PLAN)


def _params(lies, **changes):
    return replace(lies.driver._training._params, **changes).encode()


def _plan(lies, **changes):
    return lies.proposal.plan.model_copy(update=changes).to_json()


def _ctx(lies, **changes):
    """What the coordinator would sign for other parameters, plan or model."""
    fields = {
        "federation_id": lies.proposal.roster.roster.federation_id,
        "run_id": lies.attempt.run_id,
        "round_number": lies.attempt.round,
        "attempt": lies.attempt.attempt,
        "shard": 0,
        "task_hash": lies.proposal.task.task_hash(),
        "model_hash": lies.proposal.model_hash,
        "config_hash": context.config_hash(
            lies.proposal.params.encode(), lies.proposal.plan.to_json()
        ),
        "roster_hash": lies.proposal.roster.roster.hash(),
    }
    return context.context(**(fields | changes))


SEGMENTS = {
    "an extra segment": lambda s: (s[0], Segment("metrics", SIGNED, 4, 1, 1), s[1]),
    "a second weight": lambda s: (replace(s[0], count=2), s[1]),
    "a weight with a sign": lambda s: (replace(s[0], kind=SIGNED), s[1]),
    "fewer lanes": lambda s: (s[0], replace(s[1], count=s[1].count - 1)),
    "an overflowing bound": lambda s: (s[0], replace(s[1], bound=1 << 31)),
}


@pytest.mark.parametrize("change", SEGMENTS.values(), ids=SEGMENTS)
def test_a_vector_of_another_layout_is_refused_uncharged(lies, change):
    params = _params(lies, segments=change(lies.driver._training._params.segments))
    lies.refused(lies.offer(params=params), "POLICY_VECTOR", charged=0)


@pytest.mark.parametrize(
    "change",
    [{"n_min": 2}, {"gamma_ppm": 0}, {"sigma": 40}, {"n_max": 20_000}],
    ids=str,
)
def test_parameters_below_the_owner_s_floors_are_refused_uncharged(lies, change):
    if "n_max" in change:
        weight, values = lies.driver._training._params.segments
        change |= {"bits": 32, "segments": (weight, replace(values, bound=100))}
    request = lies.offer(params=_params(lies, **change))
    lies.refused(request, "POLICY_SECAGG", charged=0, words="this device wants")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"clip_norm": 1000.0}, "POLICY_CLIP"),
        ({"learning_rate": 1e9}, "POLICY_LR"),
        ({"steps": 5000}, "POLICY_STEPS"),
        ({"delta": 0.01}, "POLICY_DELTA"),
        ({"noise_multiplier": 0.1}, "POLICY_SIGMA"),
    ],
    ids=str,
)
def test_a_plan_outside_the_owner_s_policy_is_refused_uncharged(lies, change, code):
    plan = _plan(lies, **change)
    config_hash = context.config_hash(lies.proposal.params.encode(), plan)
    request = lies.offer(plan_json=plan, ctx=_ctx(lies, config_hash=config_hash))
    lies.refused(request, code, charged=0)


def test_a_shard_or_a_model_other_than_the_signed_one_is_refused_uncharged(lies):
    lies.refused(lies.offer(shard=1), "CTX_MISMATCH", charged=0)
    other = np.frombuffer(lies.proposal.bulk, "<f4") + np.float32(1)
    lies.refused(lies.offer(bulk=other.tobytes()), "CTX_MISMATCH", charged=0)


def test_a_model_that_is_not_finite_or_of_another_length_is_refused_uncharged(lies):
    broken = np.frombuffer(lies.proposal.bulk, "<f4").copy()
    broken[3] = np.nan
    lies.refused(lies.offer(bulk=broken.tobytes()), "MODEL_INVALID", charged=0)
    lies.refused(lies.offer(bulk=lies.proposal.bulk[:-4]), "MODEL_INVALID", charged=0)


def test_other_code_under_a_known_name_is_refused_uncharged(lies):
    lies.refused(lies.offer(code_hash=bytes(32)), "TASK_UNKNOWN", charged=0)
    lies.refused(lies.offer(task_version="9.9.9"), "TASK_UNKNOWN", charged=0)


def test_a_version_this_agent_does_not_speak_is_refused_with_both_named(lies):
    request = lies.offer(versions=Versions(7, 9))
    reply = lies.refused(
        request, "VERSION", charged=0, words="speaks protocol 7 to 9, this agent 2"
    )
    assert Versions.decode(reply.body) == Versions(2, 2)


def _roster(lies, signer=None, **changes):
    honest = lies.proposal.roster.roster
    made = Roster(
        **(
            {
                "federation_id": honest.federation_id,
                "epoch": honest.epoch,
                "issued": honest.issued,
                "expires": honest.expires,
                "members": honest.members,
            }
            | changes
        )
    )
    signed = SignedRoster.sign(made, signer or lies.federation.federation)
    return {"roster_body": made.body(), "roster_signature": signed.signature}


def test_rosters_of_the_coordinator_s_own_making_are_refused_uncharged(lies):
    sybil = Identity.generate()
    members = dict(lies.proposal.roster.roster.members)
    members[agent_id(sybil.public)] = sybil.public
    forged = _roster(lies, lies.federation.coordinator, epoch=9, members=members)
    lies.refused(lies.offer(**forged), "ROSTER_SIGNATURE", charged=0)
    lies.refused(lies.offer(**_roster(lies, epoch=0)), "ROSTER_STALE", charged=0)
    lies.refused(lies.offer(**_roster(lies, members=members)), "EQUIVOCATION", charged=0)
    expired = _roster(lies, expires=1_000_000, issued=1, members=members, epoch=1)
    assert lies.session.handle(lies.offer(**expired)).refusal in {"EQUIVOCATION", "ROSTER_EXPIRED"}


def test_a_request_of_another_key_or_for_another_agent_is_refused_uncharged(lies):
    stranger = Identity.generate()
    body, bulk = lies.offers[lies.victim].body, lies.offers[lies.victim].bulk
    foreign = make_request(stranger, lies.victim, Stage.ROUND, lies.attempt, body, bulk)
    lies.refused(foreign, "COORDINATOR_UNKNOWN", charged=0)
    lies.refused(lies.offers[lies.selected[1]], "COORDINATOR_UNKNOWN", charged=0)


def test_replays_of_a_finished_round_attempt_or_of_another_run_are_refused(lies):
    body = lies.until(Stage.SHARE)
    later = replace(lies.attempt, round=lies.attempt.round + 1)
    lies.refused(lies.offer(attempt=later), "CTX_MISMATCH", charged=1)
    elsewhere = replace(lies.attempt, run_id="another-run")
    lies.refused(lies.offer(attempt=elsewhere), "CTX_MISMATCH", charged=1)
    earlier = Lies.number
    changed = lies.offer(deadline_ms=1)
    lies.refused(changed, "ROUND_REPLAY", charged=1)
    assert earlier == lies.attempt.round
    lies.over(Stage.SHARE, body)


def test_a_model_or_configuration_of_the_victim_s_own_ends_at_the_cohort(lies):
    """A consistent offer with another model is taken, but ctx then fits nobody else's adverts."""
    other = np.frombuffer(lies.proposal.bulk, "<f4") * np.float32(0.5) + np.float32(0.01)
    hashed = model_hash(other.astype(np.float32), lies.proposal.tensors)
    bulk = other.astype("<f4").tobytes()
    lies.offers[lies.victim] = lies.offer(bulk=bulk, ctx=_ctx(lies, model_hash=hashed))
    (action,) = lies.machine.start(0.0)
    following = []
    for agent in action.agents:
        reply = lies.federation.sessions[agent].handle(lies.offers[agent])
        assert reply.refusal is None
        advert = RoundAccept.decode(reply.body).advert
        following += lies.machine.reply(agent, Stage.ROUND, advert, None, 0.0)
    assert lies.machine.dropped == {lies.victim: "invalid:CTX_MISMATCH"}
    body = next(iter(following[0].bodies.values()))
    lies.refused(lies.signed(Stage.SHARE, body), "U1_INVALID", charged=1)


def _share(change):
    def lie(lies):
        body = lies.until(Stage.SHARE)
        message = change(messages.ShareRequest.decode(body, 10))
        return Stage.SHARE, body, message.encode()

    return lie


def _masked(change):
    def lie(lies):
        body = lies.until(Stage.MASKED)
        return Stage.MASKED, body, change(messages.MaskedRequest.decode(body, 10)).encode()

    return lie


def _agree(u3):
    def lie(lies):
        return Stage.AGREE, lies.until(Stage.AGREE), messages.AgreeRequest(u3).encode()

    return lie


def _unmask(change):
    def lie(lies):
        body = lies.until(Stage.UNMASK)
        return Stage.UNMASK, body, change(messages.UnmaskRequest.decode(body, 10)).encode()

    return lie


def _swapped(message):
    (one, *first), (two, *second), *rest = message.sealed
    return replace(message, sealed=((one, *second), (two, *first), *rest))


def _replaced_key(message):
    peer = replace(message.neighbours[0], mask_key=b"\x09" + bytes(31))
    return replace(message, neighbours=(peer, *message.neighbours[1:]))


LATE_LIES = {
    "a cohort of one": (_share(lambda m: replace(m, cohort=m.cohort[:1])), "COHORT_TOO_SMALL"),
    "a threshold of one": (_share(lambda m: replace(m, t=1)), "GRAPH_MISMATCH"),
    "another graph": (_share(lambda m: replace(m, k=2, neighbours=m.neighbours[1:])), "GRAPH_MISMATCH"),
    "a replaced key": (_share(_replaced_key), "U1_INVALID"),
    "shares swapped": (_masked(_swapped), "SHARE_AUTH"),
    "shares withheld": (_masked(lambda m: replace(m, sealed=m.sealed[1:])), "U2_INVALID"),
    "victim alone in U2": (_masked(lambda _: messages.MaskedRequest(b"\x01", ())), "COHORT_TOO_SMALL"),
    "victim alone in U3": (_agree(b"\x01"), "COHORT_TOO_SMALL"),
    "U3 without the victim": (_agree(b"\x0e"), "U3_INVALID"),
    "signatures below the quorum": (
        _unmask(lambda m: messages.UnmaskRequest(m.signatures[:1])),
        "QUORUM",
    ),
    "a forged signature": (
        _unmask(lambda m: messages.UnmaskRequest(((1, bytes(64)), *m.signatures[2:]))),
        "QUORUM",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("lie", "code"), LATE_LIES.values(), ids=LATE_LIES)
def test_a_lie_after_training_releases_nothing_and_stays_charged(lies, lie, code):
    stage, honest, body = lie(lies)
    reply = lies.refused(lies.signed(stage, body), code, charged=1)
    assert (len(reply.body) == 16) == (code == "SHARE_AUTH")
    if code == "SHARE_AUTH":
        assert reply.body in lies.selected[1:], "the refusal names whose share did not open"
    lies.over(stage, honest)


def test_a_second_masked_upload_over_another_set_is_refused(lies):
    body = lies.until(Stage.AGREE)
    narrower = messages.MaskedRequest(b"\x07", ()).encode()
    lies.refused(lies.signed(Stage.MASKED, narrower), "EQUIVOCATION", charged=1)
    lies.over(Stage.AGREE, body)


def test_a_second_view_of_the_survivors_is_refused(lies):
    body = lies.until(Stage.UNMASK)
    narrower = messages.AgreeRequest(b"\x07").encode()
    lies.refused(lies.signed(Stage.AGREE, narrower), "EQUIVOCATION", charged=1)
    lies.over(Stage.UNMASK, body)


@pytest.mark.parametrize("stage", [Stage.MASKED, Stage.AGREE, Stage.UNMASK])
def test_a_request_ahead_of_its_stage_is_refused(lies, stage):
    body = lies.until(Stage.SHARE)
    lies.refused(lies.signed(stage, b"anything"), "STATE", charged=1)
    lies.over(Stage.SHARE, body)


def test_the_spent_update_of_an_aborted_attempt_is_never_masked_again(lies):
    """After M3 the next attempt of the same round trains anew and is charged anew."""
    lies.until(Stage.AGREE)
    again = Lies(lies.federation, PLAN, attempt=replace(lies.attempt, attempt=2))
    first = lies.session._open.ctx
    again.until(Stage.SHARE)
    assert lies.session._open.ctx != first
    assert read_budget(lies.home.path).rounds == lies.before.rounds + 2


def test_every_param_of_the_honest_offer_is_what_the_suite_alters(lies):
    """Positive control: unaltered, the same attempt reaches the last exchange."""
    assert Params.decode(RoundOffer.decode(lies.offers[lies.victim].body).params)
    body = lies.until(Stage.UNMASK)
    assert lies.session.handle(lies.signed(Stage.UNMASK, body)).refusal is None
