"""What each failure of a pure function says, to the letter: an operator acts on these sentences.

Each row: what is done, the sentence, and for errors of the protocol also code and agent.
"""

import dataclasses
import math

import numpy as np
import pytest
from secagg_bench import CTX, identities, params

from edgeveil.shared.secagg.agreement import context, sharding
from edgeveil.shared.secagg.agreement.cohort import Cohort
from edgeveil.shared.secagg.agreement.graph import Graph
from edgeveil.shared.secagg.agreement.messages import (
    Advert,
    AgreeReply,
    MaskedReply,
    MaskedRequest,
    ShareReply,
    ShareRequest,
    UnmaskReply,
    UnmaskRequest,
)
from edgeveil.shared.secagg.agreement.result import make_result
from edgeveil.shared.secagg.client.policy import ClientPolicy, small_cohort_notices
from edgeveil.shared.secagg.client.settings import Settings
from edgeveil.shared.secagg.primitives import canonical, keys, mask, ring, shamir, solver
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.secagg.primitives.errors import Aborted, Infeasible, Refused, SecaggError
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Params, Segment, solve
from edgeveil.shared.secagg.primitives.sealing import SharePair, seal, unseal
from edgeveil.shared.secagg.server.stage import ServerSetup, too_small

IDS = [one.id for one in identities(5)]
Z = bytes(32)


def _list(*items: bytes) -> bytes:
    return canonical.list_bytes(items)


def _body(label: str, *fields: bytes) -> bytes:
    return canonical.canon(label, *fields)


def _cohort(n: int = 5) -> Cohort:
    return Cohort(CTX, [(one, Z) for one in IDS[:n]], params(n))


def _segment(**changes: object) -> Segment:
    good = {"name": "params", "kind": SIGNED, "count": 4, "limbs": 1, "bound": 7, "step": 0.5}
    return Segment(**(good | changes))


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
        lambda: canonical.parse_list(_list(b"a", b"b", b"c"), most=2),
        "a list of 3 items where 2 are allowed",
    ),
    (lambda: canonical.parse_list(_list(b"a") + b"abc", most=1), "3 bytes after the end of a list"),
    (
        lambda: canonical.parse_list(_list(b"aa", b"b"), most=2, size=2),
        "a list item is not 2 bytes long",
    ),
    (lambda: canonical.parse_list(b"\x00", most=2), "expected an integer of 4 bytes, got 1"),
    # messages: sizes and order
    (
        lambda: Advert.decode(_body("m1-reply", Z, Z, Z, Z, Z, Z)),
        "fields of [32, 32, 32, 32, 32, 32] bytes, due are (32, 16, 32, 32, 4, 64)",
    ),
    (
        lambda: MaskedReply.decode(_body("m3-reply", Z)),
        "fields of [32] bytes, due are (64,)",
    ),
    (lambda: AgreeReply.decode(_body("m4-reply", Z)), "fields of [32] bytes, due are (64,)"),
    (
        lambda: ShareReply.decode(_body("m2-reply", _list(), b""), 9),
        "fields of [0] bytes, due are (64,)",
    ),
    (
        lambda: UnmaskReply.decode(_body("m5-reply", _list(), b""), 9),
        "fields of [0] bytes, due are (64,)",
    ),
    (
        lambda: UnmaskRequest.decode(_body("m5-request", _list(bytes(66), bytes(65) + b"\x01")), 9),
        "a list is not strictly ascending",
    ),
    # parameters
    (
        lambda: _segment(name="Über" * 20),
        f"segment name {('Über' * 20)[:40]!r}: use up to 40 of [a-z0-9-]",
    ),
    (lambda: _segment(kind=2), "segment params: unknown kind 2"),
    (lambda: _segment(limbs=3), "segment params: 4 lanes in limbs of 3"),
    (
        lambda: _segment(kind=UNSIGNED, limbs=256, count=512),
        "segment params: 512 lanes in limbs of 256",
    ),
    (lambda: _segment(limbs=2), "segment params: only counts can be split into limbs"),
    (lambda: _segment(bound=0), "segment params: count or bound out of range"),
    (lambda: _segment(step=math.nan), "segment params: the step must be a positive number"),
    (
        lambda: Segment.decode(_body("segment", b"\xff", b"0", Z[:4], b"0", Z[:4], bytes(8))),
        "a segment has an ASCII name and a step of 8 bytes",
    ),
    (lambda: params(5, prg=9, bits=7), "unknown mask generator 9 or lane width 7"),
    (lambda: params(5, n_min=9, n_max=8), "cohorts of 9 to 8 members are not possible"),
    (lambda: params(5, gamma_ppm=-1), "gamma and delta are fractions in parts per million"),
    (lambda: params(5, sigma=256), "c_min, sigma or eta out of range"),
    (lambda: params(5, segments=()), "1 to 16 segments with distinct names are needed"),
    (
        lambda: params(5, segments=(_segment(count=1 << 31), _segment(name="b"))),
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
    (lambda: _cohort().read_bitmap(bytes(2)), "a bitmap of 2 bytes for 5 agents"),
    (lambda: _cohort().read_bitmap(b"\x20"), "a bitmap with padding bits set"),
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
        lambda: ring.split_limbs(np.zeros(3, np.int64), _segment(kind=UNSIGNED)),
        "segment params takes 4 counts",
    ),
    (
        lambda: ring.split_limbs(np.array([0, 0, 0, 8]), _segment(kind=UNSIGNED)),
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


def _sum(*lanes: int) -> None:
    sets = {"u2": frozenset(IDS), "u3": frozenset(IDS)}
    total = np.array(lanes, np.int64).astype(np.uint16)
    make_result(
        total,
        params(5, lanes=2),
        _cohort(),
        **sets,
        weights=dict.fromkeys(IDS, 1),
        liars=frozenset(),
    )


def _small() -> None:
    problem = too_small(frozenset(IDS[:2]), "U9", params(5))
    if problem is not None:
        raise problem


def _check_two() -> None:
    Settings.of(
        CTX, params(5), {one.id: one.public for one in identities(5)}, identities(5)[0], bytes, 1
    ).check_size(frozenset(IDS[:2]), "U9")


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
        lambda: _sum(5, 0, 501),
        Aborted, "SUM_RANGE", "segment params: a lane of the sum exceeds 5 × 100", None,
    ),
    (
        lambda: _sum(5, -501, 0),
        Aborted, "SUM_RANGE", "segment params: a lane of the sum exceeds 5 × 100", None,
    ),
    (lambda: _sum(4, 0, 0), Aborted, "SUM_RANGE", "the weights sum to 4, due is 5", None),
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
        lambda: _offer(segments=(_segment(),)),
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


def test_the_limits_themselves_are_allowed():
    for edge in (
        {"name": "x"}, {"name": "x" * 40}, {"name": "0-"},
        {"name": "abcdefghijklmnopqrstuvwxyz0123456789-"},
        {"count": 1}, {"count": 1 << 31}, {"count": 255, "limbs": 255, "kind": UNSIGNED},
        {"bound": 1}, {"bound": (1 << 32) - 1}, {"step": 5e-324},
    ):  # fmt: skip
        segment = _segment(**edge)
        assert Segment.decode(segment.encode()) == segment
    for edge in (
        {"n_min": 2, "n_max": 2}, {"n_max": 65_535}, {"gamma_ppm": 0, "delta_ppm": 0},
        {"gamma_ppm": 1_000_000, "delta_ppm": 1_000_000}, {"c_min": 65_535, "sigma": 255, "eta": 255},
        {"c_min": 0, "sigma": 0, "eta": 0}, {"segments": (_segment(count=1 << 31),)},
        {"segments": tuple(_segment(name=f"s{i}") for i in range(16))}, {"prg": 2, "bits": 24},
    ):  # fmt: skip
        wanted = params(5, **edge)
        assert Params.decode(wanted.encode()) == wanted
    assert solve(5, 0, 0).k == solve(5, 0.0, 0.2).k == 4
    with pytest.raises(Infeasible):
        solve(5, 1, 0)
    with pytest.raises(Infeasible):
        solve(5, 0, 1)


ENTRY = bytes(15) + b"\x05"
WRONG_ITEMS = [
    (lambda size: ShareRequest.decode(_share_request(_list(bytes(48 + size)), _list()), 9), 48),
    (lambda size: ShareRequest.decode(_share_request(_list(), _list(bytes(148 + size))), 9), 148),
    (
        lambda size: ShareReply.decode(_body("m2-reply", _list(bytes(129 + size)), bytes(64)), 9),
        129,
    ),
    (lambda size: MaskedRequest.decode(_body("m3-request", b"", _list(bytes(129 + size))), 9), 129),
    (lambda size: UnmaskRequest.decode(_body("m5-request", _list(bytes(66 + size))), 9), 66),
    (lambda size: UnmaskReply.decode(_body("m5-reply", _list(bytes(49 + size)), bytes(64)), 9), 49),
]


def _share_request(cohort: bytes, neighbours: bytes, *numbers: bytes) -> bytes:
    k, t, h, quorum = numbers or (Z[:2], Z[:2], Z[:2], Z[:4])
    return _body("m2-request", cohort, neighbours, k, t, h, quorum)


@pytest.mark.parametrize(("decode", "size"), WRONG_ITEMS)
def test_list_items_have_one_length(decode, size):
    decode(0)
    for wrong in (-1, 1):
        with pytest.raises(Malformed, match=f"^not a list of 1 items of {size} bytes each$"):
            decode(wrong)


@pytest.mark.parametrize(
    ("spelling", "count"),
    [
        (_list(b"ab", b"c", b"def"), 3),  # the sum of the lengths is right
        (_list(b"ab") + b"c", 1),
        (_list(b"ab")[:-1], 1),
        (_list(b"ab")[:4], 1),
        (_list() + bytes(6), 0),
    ],
)
def test_a_list_of_rows_has_one_spelling(spelling, count):
    assert canonical.parse_rows(_list(b"ab", b"cd"), "ss", most=2) == [(b"a", b"b"), (b"c", b"d")]
    assert canonical.parse_rows(_list(), "ss", most=0) == []
    with pytest.raises(Malformed, match=f"^not a list of {count} items of 2 bytes each$"):
        canonical.parse_rows(spelling, "ss", most=3)


TWICE = [
    lambda a, b: _share_request(_list(ENTRY + a, ENTRY + b), _list()),
    lambda a, b: _share_request(_list(), _list(ENTRY + a + bytes(100), ENTRY + b + bytes(100))),
]


@pytest.mark.parametrize("spell", TWICE)
def test_one_id_with_two_contents_is_not_ascending(spell):
    one, other = bytes(32), b"\x01" * 32
    with pytest.raises(Malformed, match="a list is not strictly ascending"):
        ShareRequest.decode(spell(one, other), 9)


def test_one_sender_owner_or_position_with_two_contents_is_not_ascending():
    for decode in (
        lambda: MaskedRequest.decode(
            _body("m3-request", b"", _list(ENTRY + bytes(113), ENTRY + b"\x01" * 113)), 9
        ),
        lambda: UnmaskReply.decode(
            _body("m5-reply", _list(ENTRY + bytes(33), ENTRY + b"\x01" * 33), bytes(64)), 9
        ),
        lambda: UnmaskRequest.decode(
            _body("m5-request", _list(b"\x00\x01" + bytes(64), b"\x00\x01" + b"\x01" * 64)), 9
        ),
    ):
        with pytest.raises(Malformed, match="a list is not strictly ascending"):
            decode()


def test_numbers_have_one_width():
    for place in range(4):
        numbers = [Z[:2], Z[:2], Z[:2], Z[:4]]
        for width in (1, 3, 5):
            numbers[place] = Z[:width]
            with pytest.raises(Malformed, match="expected an integer of"):
                ShareRequest.decode(_share_request(_list(), _list(), *numbers), 9)


def test_lists_are_bounded_by_the_cohort_limit():
    three = _list(*(bytes([place]) * 48 for place in range(3)))
    assert len(ShareRequest.decode(_share_request(three, _list()), 3).cohort) == 3
    with pytest.raises(Malformed, match="a list of 3 items where 2 are allowed"):
        ShareRequest.decode(_share_request(three, _list()), 2)


@pytest.mark.parametrize("bound", range(1, 70))
def test_limbs_use_the_largest_power_of_two_whose_digits_fit_the_bound(bound):
    base = ring.limb_base(_segment(kind=UNSIGNED, bound=bound))
    assert base - 1 <= bound < 2 * base - 1
    assert base == 2 ** math.floor(math.log2(bound + 1))


def test_wide_sums_keep_their_top_bits():
    for bits, total in ((24, 1 << 30), (32, 1 << 24)):
        wanted = params(5, bits=bits, bound=1 << 20 if bits == 24 else 1 << 24, lanes=1)
        lanes = np.array([5, total + 3], np.uint32)
        found = make_result(
            lanes, wanted, _cohort(), u2=frozenset(IDS), u3=frozenset(IDS), weights=dict.fromkeys(IDS, 1),
            liars=frozenset(),
        )  # fmt: skip
        assert found.lanes.tolist() == [5, 3 if bits == 24 else total + 3]


def test_the_largest_possible_sums_are_accepted():
    _sum(5, 500, -500)


def test_the_leading_field_of_a_message_of_one_field_is_that_field():
    assert canonical.leading("edgeveil/secagg-v1/x", canonical.canon("x", b"only")) == b"only"
    assert canonical.leading("edgeveil/secagg-v1/x", canonical.canon("x", b"1", b"2")) == b"1"
