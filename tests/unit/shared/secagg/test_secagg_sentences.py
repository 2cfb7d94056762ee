"""What each failure of a pure function says, to the letter: an operator acts on these sentences.

Each row: what is done, the sentence, and for errors of the protocol also code and agent.
"""

import dataclasses
import math

import numpy as np
import pytest
from secagg_bench import CTX, identities, params
from secagg_values_bench import IDS, Z, a_cohort, a_segment, body, listed, summed

from edgeveil.shared.secagg.agreement import context, sharding
from edgeveil.shared.secagg.agreement.graph import Graph
from edgeveil.shared.secagg.agreement.messages import (
    Advert,
    AgreeReply,
    MaskedReply,
    ShareReply,
    UnmaskReply,
    UnmaskRequest,
)
from edgeveil.shared.secagg.client.policy import ClientPolicy, small_cohort_notices
from edgeveil.shared.secagg.client.settings import Settings
from edgeveil.shared.secagg.primitives import canonical, keys, mask, ring, shamir, solver
from edgeveil.shared.secagg.primitives.errors import Aborted, Infeasible, Refused, SecaggError
from edgeveil.shared.secagg.primitives.parameters import UNSIGNED, Segment, solve
from edgeveil.shared.secagg.primitives.sealing import SharePair, seal, unseal
from edgeveil.shared.secagg.server.stage import ServerSetup, too_small

AX = b"\x14edgeveil/secagg-v1/x"
SENTENCES = [
    # canonical
    (lambda: canonical.uint(b"\x00", 2), "expected an integer of 2 bytes, got 1"),
    (lambda: canonical.parse("x", b"junk", 2), "not a edgeveil/secagg-v1/x message of 2 fields"),
    (
        lambda: canonical.parse("x", canonical.canon("x", b"1") + b"ab", 1),
        "2 bytes after the end of edgeveil/secagg-v1/x",
    ),
    (
        lambda: canonical.parse("x", AX + b"\x01" + b"\x00\x00\x00\x02a", 1),
        "a length points beyond the end of the message",
    ),
    (
        lambda: canonical.parse("x", AX + b"\x01" + b"\x00\x00", 1),
        "a length points beyond the end of the message",
    ),
    (
        lambda: canonical.leading("edgeveil/secagg-v1/x", AX + b"\x00"),
        "not a edgeveil/secagg-v1/x message",
    ),
    (
        lambda: canonical.leading("edgeveil/secagg-v1/x", AX + bytes(5)),
        "not a edgeveil/secagg-v1/x message",
    ),
    (lambda: canonical.leading("edgeveil/secagg-v1/x", AX), "not a edgeveil/secagg-v1/x message"),
    (
        lambda: canonical.leading("edgeveil/secagg-v1/x", canonical.canon("y", b"1")),
        "not a edgeveil/secagg-v1/x message",
    ),
    (
        lambda: canonical.parse_list(listed(b"a", b"b", b"c"), most=2),
        "a list of 3 items where 2 are allowed",
    ),
    (
        lambda: canonical.parse_list(listed(b"a") + b"abc", most=1),
        "3 bytes after the end of a list",
    ),
    (
        lambda: canonical.parse_list(listed(b"aa", b"b"), most=2, size=2),
        "a list item is not 2 bytes long",
    ),
    (lambda: canonical.parse_list(b"\x00", most=2), "expected an integer of 4 bytes, got 1"),
    # messages: sizes and order
    (
        lambda: Advert.decode(body("m1-reply", Z, Z, Z, Z, Z, Z)),
        "fields of [32, 32, 32, 32, 32, 32] bytes, due are (32, 16, 32, 32, 4, 64)",
    ),
    (
        lambda: MaskedReply.decode(body("m3-reply", Z)),
        "fields of [32] bytes, due are (64,)",
    ),
    (lambda: AgreeReply.decode(body("m4-reply", Z)), "fields of [32] bytes, due are (64,)"),
    (
        lambda: ShareReply.decode(body("m2-reply", listed(), b""), 9),
        "fields of [0] bytes, due are (64,)",
    ),
    (
        lambda: UnmaskReply.decode(body("m5-reply", listed(), b""), 9),
        "fields of [0] bytes, due are (64,)",
    ),
    (
        lambda: UnmaskRequest.decode(body("m5-request", listed(bytes(66), bytes(65) + b"\x01")), 9),
        "a list is not strictly ascending",
    ),
    # parameters
    (
        lambda: a_segment(name="Über" * 20),
        f"segment name {('Über' * 20)[:40]!r}: use up to 40 of [a-z0-9-]",
    ),
    (lambda: a_segment(kind=2), "segment params: unknown kind 2"),
    (lambda: a_segment(limbs=3), "segment params: 4 lanes in limbs of 3"),
    (
        lambda: a_segment(kind=UNSIGNED, limbs=256, count=512),
        "segment params: 512 lanes in limbs of 256",
    ),
    (lambda: a_segment(limbs=2), "segment params: only counts can be split into limbs"),
    (lambda: a_segment(bound=0), "segment params: count or bound out of range"),
    (lambda: a_segment(step=math.nan), "segment params: the step must be a positive number"),
    (
        lambda: Segment.decode(body("segment", b"\xff", b"0", Z[:4], b"0", Z[:4], bytes(8))),
        "a segment has an ASCII name and a step of 8 bytes",
    ),
    (lambda: params(5, prg=9, bits=7), "unknown mask generator 9 or lane width 7"),
    (lambda: params(5, n_min=9, n_max=8), "cohorts of 9 to 8 members are not possible"),
    (lambda: params(5, gamma_ppm=-1), "gamma and delta are fractions in parts per million"),
    (lambda: params(5, sigma=256), "c_min, sigma or eta out of range"),
    (lambda: params(5, segments=()), "1 to 16 segments with distinct names are needed"),
    (
        lambda: params(5, segments=(a_segment(count=1 << 31), a_segment(name="b"))),
        "2147483652 lanes, at most 2147483648",
    ),
    (
        lambda: solve(9, 1.5, 0.1),
        "gamma 1.5 and delta 0.1 are fractions of the cohort, 0 to 1",
    ),
    (
        lambda: solve(9, 0.1, -0.5),
        "gamma 0.1 and delta -0.5 are fractions of the cohort, 0 to 1",
    ),
    # cohort, graph, context
    (lambda: a_cohort().read_bitmap(bytes(2)), "a bitmap of 2 bytes for 5 agents"),
    (lambda: a_cohort().read_bitmap(b"\x20"), "a bitmap with padding bits set"),
    (lambda: Graph([b"a", b"bb"], Z, Z, 1), "the ids of a cohort differ in length"),
    (
        lambda: context.model_hash([("w", "float32", (1,), Z)] * 2),
        "two tensors are called w",
    ),
    # keys and masks
    (
        lambda: keys.check_spelling(((1 << 255) - 19).to_bytes(32, "little")),
        "not the canonical spelling of an X25519 public key",
    ),
    (
        lambda: keys.check_spelling(bytes(31)),
        "not the canonical spelling of an X25519 public key",
    ),
    (lambda: keys.check_public(Z), "a public key of small order"),
    (
        lambda: mask.add_into(np.zeros(2, np.int64), Z),
        "lanes are uint16 or uint32, not int64",
    ),
    (
        lambda: mask.expand(Z, 2, 16, cipher="rc4"),
        "a mask takes a key of 32 bytes and a cipher of ['aes-256-ctr', 'chacha20']",
    ),
    (
        lambda: mask.expand(Z[:16], 2, 16),
        "a mask takes a key of 32 bytes and a cipher of ['aes-256-ctr', 'chacha20']",
    ),
    # ring
    (lambda: ring.dtype(8), "lanes have 16, 24 or 32 bits, not 8"),
    (lambda: ring.unpack(bytes(5), 2, 24), "a vector of 5 bytes where 6 are due"),
    (
        lambda: ring.split_limbs(np.zeros(3, np.int64), a_segment(kind=UNSIGNED)),
        "segment params takes 4 counts",
    ),
    (
        lambda: ring.split_limbs(np.array([0, 0, 0, 8]), a_segment(kind=UNSIGNED)),
        "segment params: a count does not fit 1 limbs",
    ),
    # Shamir
    (
        lambda: shamir.split(Z, 3, (1, 2)),
        "2 shares cannot have the threshold 3",
    ),
    (lambda: shamir.split(Z, 0, (1, 2)), "2 shares cannot have the threshold 0"),
    (lambda: shamir.split(Z, 1, (1, 1)), "2 shares cannot have the threshold 1"),
    (lambda: shamir.split(Z, 1, (0, 1)), "a share index is a non-zero byte"),
    (lambda: shamir.split(Z, 1, (1, 256)), "a share index is a non-zero byte"),
]


@pytest.mark.parametrize(("do", "sentence"), SENTENCES, ids=[row[1][:40] for row in SENTENCES])
def test_a_value_is_refused_in_these_words(do, sentence):
    with pytest.raises(ValueError) as error:  # Malformed and BadKey are ValueErrors
        do()
    assert str(error.value) == sentence


SETUP = ServerSetup(CTX, params(5), {one.id: one.public for one in identities(5)})
FAIR = ClientPolicy(n_max=9, gamma_ppm=100_000, c_min=1, sigma=80, bits=(16, 24), prg=(1,))
OFFER = params(5, c_min=1)
SCOPE = {"ctx": CTX, "u1_hash": Z, "sender": IDS[0], "receiver": IDS[1]}


def _offer(**changes: object) -> None:
    FAIR.check(dataclasses.replace(OFFER, **changes))


def _small() -> None:
    problem = too_small(frozenset(IDS[:2]), "U9", params(5))
    if problem is not None:
        raise problem


def _check_two() -> None:
    Settings.of(
        CTX, params(5), {one.id: one.public for one in identities(5)}, identities(5)[0], bytes, 1
    ).check_size(frozenset(IDS[:2]), "U9", 3)


PROTOCOL = [
    (
        lambda: seal_open(bytes(81)),
        Refused, "SHARE_AUTH", "a sealed share does not open; leave this attempt", IDS[0],
    ),
    (
        lambda: seal_open(seal(Z, SharePair(1, b"", b""), Z, **SCOPE)),
        Refused, "SHARE_AUTH", "a sealed share has another length", IDS[0],
    ),
    (_small, Aborted, "COHORT_TOO_SMALL", "U9 has 2 of at least 3 agents", None),
    (_check_two, Refused, "COHORT_TOO_SMALL", "U9 has 2 members, at least 3 are due", None),
    (
        lambda: Settings.of(CTX, params(5), {}, identities(5)[0], bytes, 1),
        Refused, "NOT_MEMBER", "the roster does not hold this agent with its key", None,
    ),
    (
        lambda: Settings.of(CTX, params(5), SETUP.members, identities(5)[0], bytes, 0),
        Refused, "POLICY_VECTOR", "a vector of weight 0 counts for nothing", None,
    ),
    (
        lambda: ServerSetup(CTX, params(5), {}),
        Aborted, "POLICY_SECAGG", "0 agents asked, the parameters allow 3 to 5", None,
    ),
    (
        lambda: ServerSetup(CTX, params(5, bound=9999), SETUP.members),
        Aborted, "POLICY_VECTOR",
        "segment params: 5 members times 9999 overflow 16-bit lanes; use wider lanes or smaller cohorts",
        None,
    ),
    (
        lambda: ring.to_ring(np.zeros(2, np.int32), params(5)),
        Refused, "POLICY_VECTOR", "expected 6 lanes of int64, got (2,) of int32", None,
    ),
    (
        lambda: ring.to_ring(np.array([0, 0, 0, 0, 0, 101]), params(5)),
        Refused, "POLICY_VECTOR", "segment params holds a lane beyond 100", None,
    ),
    (
        lambda: ring.to_ring(np.array([-1, 0, 0, 0, 0, 0]), params(5)),
        Refused, "POLICY_VECTOR", "segment weight holds a lane beyond 1", None,
    ),
    (
        lambda: summed(5, 0, 501),
        Aborted, "SUM_RANGE", "segment params: a lane of the sum exceeds 5 × 100", None,
    ),
    (
        lambda: summed(5, -501, 0),
        Aborted, "SUM_RANGE", "segment params: a lane of the sum exceeds 5 × 100", None,
    ),
    (lambda: summed(4, 0, 0), Aborted, "SUM_RANGE", "the weights sum to 4, due is 5", None),
    (
        lambda: _offer(n_min=2),
        Refused, "POLICY_SECAGG", "secagg.n_min is 2; this device wants at least 3", None,
    ),
    (
        lambda: _offer(n_max=10),
        Refused, "POLICY_SECAGG", "secagg.n_max is 10; this device wants at most 9", None,
    ),
    (
        lambda: _offer(gamma_ppm=0),
        Refused, "POLICY_SECAGG", "secagg.gamma_ppm is 0; this device wants at least 100000", None,
    ),
    (
        lambda: _offer(c_min=0),
        Refused, "POLICY_SECAGG", "secagg.c_min is 0; this device wants at least 1", None,
    ),
    (
        lambda: _offer(sigma=79),
        Refused, "POLICY_SECAGG", "secagg.sigma is 79; this device wants at least 80", None,
    ),
    (
        lambda: _offer(bits=32),
        Refused, "POLICY_SECAGG", "secagg.bits is 32; this device wants one of [16, 24]", None,
    ),
    (
        lambda: _offer(prg=2),
        Refused, "POLICY_SECAGG", "secagg.prg is 2; this device wants one of [1]", None,
    ),
    (
        lambda: _offer(segments=(a_segment(),)),
        Refused, "POLICY_VECTOR",
        "a vector is one weight lane, optional metrics, then parameters", None,
    ),
    (
        lambda: solver.solve(3, 0, 0, sigma=80, eta=20, c_min=3),
        Infeasible, "GRAPH_MISMATCH", "3 members with 3 corrupt and 0 lost have no quorum", None,
    ),
    (
        lambda: solver.solve(3, 0, 0, sigma=80, eta=20, c_min=2),
        Infeasible, "GRAPH_MISMATCH",
        "3 members of which 2 may be corrupt leave no honest threshold", None,
    ),
    (
        lambda: solver.solve(1000, 200_000, 200_001, sigma=80, eta=20, c_min=1),
        Infeasible, "GRAPH_MISMATCH",
        ("no degree up to 254 serves 1000 members at gamma 200000 and delta 200001 ppm; "
        "split them into shards of 100 to 500"), None,
    ),
    (
        lambda: sharding.shard_size(2000, lambda _: False),
        Infeasible, "GRAPH_MISMATCH",
        "a cohort of 2000 has no parameters, neither whole nor in shards of 100 to 500", None,
    ),
    (
        lambda: sharding.partition(IDS, most=2, least=2, seed=Z),
        Infeasible, "COHORT_TOO_SMALL", "5 members make no 3 shards of 2 to 2", None,
    ),
]  # fmt: skip


def seal_open(sealed: bytes) -> SharePair:
    return unseal(Z, sealed, Z, **SCOPE)


@pytest.mark.parametrize(
    ("do", "kind", "code", "sentence", "agent"), PROTOCOL, ids=[row[3][:40] for row in PROTOCOL]
)
def test_a_rule_is_enforced_in_these_words(do, kind, code, sentence, agent):
    with pytest.raises(SecaggError) as error:
        do()
    assert type(error.value) is kind
    assert (error.value.code, error.value.agent) == (code, agent)
    assert str(error.value) == (sentence if agent is None else f"{sentence} (agent {agent.hex()})")


def test_small_cohorts_are_explained_word_for_word():
    assert small_cohort_notices(2, 0) == (
        "cohorts of two are allowed: each agent computes the other's update from the sum",
        "a cohort of two tolerates no loss: if either agent is lost, the attempt aborts",
    )
    assert small_cohort_notices(3, 1) == (
        "cohorts of three are allowed: an update hides among 2 honest ones, itself included",
        "a cohort of three tolerates no loss: if one agent is lost, the attempt aborts",
    )
    assert small_cohort_notices(4, 2) == (
        "a cohort of four with c_min = 2 tolerates no loss after its adverts; five do",
    )
