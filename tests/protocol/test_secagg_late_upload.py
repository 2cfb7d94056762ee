"""A vector that arrives after its agent was called dropped and its mask key recovered.

The honest server discards it. A lying one keeps it, and may take every pair mask off; the self mask
stays on, because for a dropped agent nobody reveals a share of its seed.
"""

import numpy as np
import pytest
from secagg_bench import Bench, params

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.primitives import keys, mask, ring, shamir
from edgeveil.shared.secagg.primitives.errors import PeerFault

N, VICTIM = 5, 4
LANES = 100_000


def _late():
    """(bench, what the victim uploaded, its state's seed, the neighbours' answers of M5, the sum)."""
    wanted = params(N, lanes=LANES)
    bench = Bench.of(N, wanted)
    rng = np.random.default_rng(7)
    vector = np.concatenate([[1], rng.integers(-100, 101, LANES)]).astype(np.int64)
    bench.vectors[VICTIM] = vector
    victim = bench.agents[VICTIM]
    bench.sessions[victim.id] = bench.session(VICTIM)
    stage = bench.stage()
    for name in ("advert", "share"):
        bench.exchange(name, stage)
        stage = stage.close()
    state = bench.sessions[victim.id]._state
    reply, bulk = bench.sessions[victim.id].masked(stage.requests()[victim.id])
    bench.exchange("masked", stage, lost=[VICTIM])
    following = stage.close()
    with pytest.raises(PeerFault):
        stage.accept(victim.id, reply, bulk)
    bench.exchange("agree", following, lost=[VICTIM])
    last = following.close()
    bench.exchange("unmask", last, lost=[VICTIM])
    answers = {
        agent: messages.UnmaskReply.decode(answer, N)
        for name, agent, _, answer, _ in bench.traffic
        if name == "unmask"
    }
    return bench, state, ring.unpack(bytes(bulk), wanted.lanes, 16), answers, last.close()


def test_a_late_vector_keeps_its_self_mask_and_is_not_in_the_sum():
    bench, state, late, answers, result = _late()
    victim, cohort = bench.agents[VICTIM].id, state.cohort
    assert victim not in result.u3
    assert (result.lanes == bench.expected(result)).all()
    shares = {}
    for holder, answer in answers.items():
        ((kind, share),) = [
            (kind, share) for owner, kind, share in answer.shares if owner == victim
        ]
        assert kind == messages.SECRET_SHARE, "nobody reveals the seed of a dropped agent"
        shares[cohort.share_index(victim, holder)] = share
    secret = shamir.combine(shares)
    assert secret == state.pairwise.secret, (
        "the lying server does recover the key of the pair masks"
    )
    stripped = late.copy()
    scope = {"ctx": bench.ctx, "u1_hash": cohort.u1_hash}
    for peer, link in state.links.items():
        pair = keys.KeyPair(secret)
        key = keys.pair_mask_key(pair, link.mask_key, **scope, own_id=victim, other_id=peer)
        mask.add_into(stripped, key, subtract=victim < peer)
    plain = bench.vectors[VICTIM].astype(np.uint16)
    assert (stripped == plain).mean() < 0.001
    counts = np.bincount(stripped >> 8, minlength=256)
    chi = ((counts - len(stripped) / 256) ** 2 / (len(stripped) / 256)).sum()
    assert chi < 255 + 6 * np.sqrt(2 * 255)
    own = keys.self_mask_key(state.seed, **scope, agent_id=victim)
    mask.add_into(stripped, own, subtract=True)
    assert (stripped == plain).all(), "only the seed, which nobody revealed, opens it"


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_masked_vectors_of_one_attempt_are_independent_of_each_other(bits):
    """Equal inputs: no two masked vectors, nor the sums of two, correlate or repeat a lane pattern."""
    wanted = params(4, lanes=60_000, bits=bits)
    bench = Bench.of(4, wanted)
    bench.play()
    uploads = [
        ring.unpack(bytes(bulk), wanted.lanes, bits).astype(np.int64)
        for name, _, _, _, bulk in bench.traffic
        if name == "masked"
    ]
    centred = [upload - upload.mean() for upload in uploads]
    limit = 6 / np.sqrt(wanted.lanes)  # passed by chance once in 10^7 runs of this test
    for one in range(4):
        for two in range(one + 1, 4):
            assert abs(np.corrcoef(centred[one], centred[two])[0, 1]) < limit
            assert (uploads[one] == uploads[two]).mean() < 0.001
        shifted = np.corrcoef(centred[one][1:], centred[one][:-1])[0, 1]
        assert abs(shifted) < limit
