"""Every hashed or signed byte string, built again field by field from docs/protocol.md "Encodings".

Both sides of a session compute these with the same code, so a field left out would never show there.
The pinned bytes are those of signed-bytes.json in tests/vectors/v1 and, since version 2, v2.
"""

import hashlib
from itertools import combinations

import numpy as np
import pytest
from secagg_bench import params, vectors

from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.secagg.agreement.cohort import Cohort, advert_hash, advert_message, agent_id
from edgeveil.shared.secagg.agreement.graph import Graph
from edgeveil.shared.secagg.agreement.result import make_result
from edgeveil.shared.secagg.primitives import keys, sealing

PINNED = vectors("v1/signed-bytes") | vectors("v2/signed-bytes")
CTX = bytes(range(32))
IDS = [bytes([place]) * 16 for place in (1, 2, 3, 4, 5)]
ADVERTS = [bytes([place]) * 32 for place in (11, 12, 13, 14, 15)]
SEED, CHANNEL, MASK, CODE = (bytes([place]) * 32 for place in (21, 22, 23, 24))
U2, U3 = IDS[:4], [IDS[0], IDS[1], IDS[3]]
WEIGHT = b"\x00\x00\x01\x2c"
BODY = b"the list that is hashed"


def _canon(label: str, *fields: bytes) -> bytes:
    name = b"edgeveil/secagg-v1/" + label.encode()
    spelled = bytes([len(name)]) + name + bytes([len(fields)])
    for field in fields:
        spelled += len(field).to_bytes(4, "big") + field
    return spelled


def _hash(label: str, *fields: bytes) -> bytes:
    return hashlib.sha256(_canon(label, *fields)).digest()


def _sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _list(*items: bytes) -> bytes:
    return len(items).to_bytes(4, "big") + b"".join(
        len(item).to_bytes(4, "big") + item for item in items
    )


U1_HASH = _hash("u1", CTX, _list(*(one + advert for one, advert in zip(IDS, ADVERTS, strict=True))))
U2_HASH = _hash("u2", CTX, U1_HASH, b"\x0f")
U3_HASH = _hash("u3", CTX, U1_HASH, b"\x0b")


def _cohort() -> Cohort:
    return Cohort(CTX, list(zip(IDS, ADVERTS, strict=True)), params(5))


def _result_hash() -> bytes:
    wanted = params(5)
    total = np.array([3, 1, 1, 0, 1, 0], np.uint16)
    sets = {"u2": frozenset(U2), "u3": frozenset(U3)}
    found = make_result(
        total, wanted, _cohort(), **sets, weights=dict.fromkeys(IDS, 1), liars=frozenset()
    )
    assert (found.u1_hash, found.u2_hash, found.u3_hash) == (U1_HASH, U2_HASH, U3_HASH)
    return found.result_hash


SUM = bytes.fromhex("030001000100000001000000")
TENSORS = [
    ("b", "float32", (1, 258), b"\x01" * 4),
    ("a", "float64", (3,), bytes(8)),
]


def _tensor(name: str, dtype: str, shape: tuple[int, ...], raw: bytes) -> bytes:
    lengths = b"".join(length.to_bytes(4, "big") for length in shape)
    return _canon("tensor", name.encode(), dtype.encode(), lengths, _sha(raw))


# name → (how the protocol spells it, what the product computes)
SPELLED = {
    "agent_id": (_hash("agent-id", CHANNEL)[:16], lambda: agent_id(CHANNEL)),
    "advert_message": (
        _canon("advert", CTX, IDS[0], CHANNEL, MASK, WEIGHT),
        lambda: advert_message(CTX, IDS[0], CHANNEL, MASK, 300),
    ),
    "advert_hash": (
        _hash("advert", CTX, IDS[0], CHANNEL, MASK, WEIGHT),
        lambda: advert_hash(CTX, IDS[0], CHANNEL, MASK, 300),
    ),
    "u1_hash": (U1_HASH, lambda: _cohort().u1_hash),
    "u2_hash": (U2_HASH, lambda: _cohort().u2_hash(U2)),
    "u3_hash": (U3_HASH, lambda: _cohort().u3_hash(U3)),
    "commitments": (
        _hash("share-commit", CTX, U1_HASH, IDS[1], IDS[2], b"\x01", SEED)[:16]
        + _hash("share-commit", CTX, U1_HASH, IDS[1], IDS[2], b"\x02", MASK)[:16],
        lambda: _cohort().commitments(IDS[1], IDS[2], SEED, MASK),
    ),
    "shares_message": (
        _canon("shares", CTX, U1_HASH, IDS[1], _sha(BODY)),
        lambda: _cohort().shares_message(IDS[1], BODY),
    ),
    "masked_message": (
        _canon("masked", CTX, U1_HASH, U2_HASH, IDS[1], _sha(BODY)),
        lambda: _cohort().masked_message(U2_HASH, IDS[1], BODY),
    ),
    "agree_message": (
        _canon("agree", CTX, U1_HASH, U2_HASH, U3_HASH),
        lambda: _cohort().agree_message(U2_HASH, U3_HASH),
    ),
    "unmask_message": (
        _canon("unmask", CTX, U1_HASH, U2_HASH, U3_HASH, IDS[1], _sha(BODY)),
        lambda: _cohort().unmask_message(U2_HASH, U3_HASH, IDS[1], BODY),
    ),
    "result_hash": (
        _hash("result", CTX, U1_HASH, U2_HASH, U3_HASH, _sha(SUM)),
        _result_hash,
    ),
    "open_message": (_canon("open", CTX), lambda: context.open_message(CTX)),
    "task_hash": (
        _hash("task", b"digits", b"1.2", CODE),
        lambda: context.task_hash("digits", "1.2", CODE),
    ),
    "config_hash": (
        _hash("config", b"params", b"{}"),
        lambda: context.config_hash(b"params", b"{}"),
    ),
    "model_hash": (
        _hash("model", _list(_tensor(*TENSORS[1]), _tensor(*TENSORS[0]))),
        lambda: context.model_hash(TENSORS),
    ),
    "code_hash": (
        _sha(_list(b"a.py\x00" + _sha(b"one"), b"b/c.py\x00" + _sha(b"two"))),
        lambda: context.code_hash([("b/c.py", b"two"), ("a.py", b"one")]),
    ),
    "ctx": (
        _hash(
            "ctx",
            SEED,
            b"run-1",
            bytes(7) + b"\x02",
            bytes(3) + b"\x03",
            bytes(3) + b"\x04",
            CHANNEL,
            MASK,
            CODE,
            CTX,
        ),
        lambda: context.context(
            federation_id=SEED,
            run_id="run-1",
            round_number=2,
            attempt=3,
            shard=4,
            task_hash=CHANNEL,
            model_hash=MASK,
            config_hash=CODE,
            roster_hash=CTX,
        ),
    ),
}


@pytest.mark.parametrize("name", SPELLED)
def test_each_string_is_spelled_as_the_protocol_says(name):
    spelled, computed = SPELLED[name]
    assert computed() == spelled
    assert spelled.hex() == PINNED[name]


def test_no_pinned_string_is_left_untested():
    assert set(PINNED) - {"about"} == set(SPELLED)


def test_no_two_of_them_can_be_confused():
    assert len({spelled for spelled, _ in SPELLED.values()}) == len(SPELLED)
    for one, other in combinations((spelled for spelled, _ in SPELLED.values()), 2):
        assert not one.startswith(other) or len(one) == len(other)


def test_the_ring_is_ordered_by_the_hash_of_its_seed_and_each_id():
    seed = _hash("graph-seed", CTX, U1_HASH)
    ordered = sorted(range(5), key=lambda rank: _hash("graph-order", seed, IDS[rank]))
    assert Graph(IDS, CTX, U1_HASH, 2).order.tolist() == ordered
    assert _cohort().graph.order.tolist() == ordered


def _hkdf(ikm: bytes, length: int, info: bytes) -> bytes:
    """HKDF-SHA256 after RFC 5869, spelled out."""
    import hmac

    pseudo = hmac.new(b"edgeveil/secagg-v1", ikm, "sha256").digest()
    block, out = b"", b""
    for number in (1, 2):
        block = hmac.new(pseudo, block + info + bytes([number]), "sha256").digest()
        out += block
    return out[:length]


def test_every_derived_key_binds_the_attempt_the_cohort_and_its_owners():
    own, other = keys.KeyPair(SEED), keys.KeyPair(CODE)
    scope = {"ctx": CTX, "u1_hash": U1_HASH}
    common = own.exchange(other.public)
    pair = _canon("pair-mask", CTX, U1_HASH, IDS[0], IDS[1])
    for a, b in ((0, 1), (1, 0)):
        found = keys.pair_mask_key(own, other.public, **scope, own_id=IDS[a], other_id=IDS[b])
        assert found == _hkdf(common, 32, pair)
    both = _hkdf(common, 64, _canon("channel", CTX, U1_HASH, IDS[0], IDS[1]))
    low = keys.channel_keys(own, other.public, **scope, own_id=IDS[0], other_id=IDS[1])
    high = keys.channel_keys(own, other.public, **scope, own_id=IDS[1], other_id=IDS[0])
    assert low == (both[:32], both[32:])
    assert high == (both[32:], both[:32])
    masked = keys.self_mask_key(SEED, **scope, agent_id=IDS[0])
    assert masked == _hkdf(SEED, 32, _canon("self-mask", CTX, U1_HASH, IDS[0]))


def test_a_sealed_share_is_the_plain_aead_of_index_and_shares():
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    scope = {"ctx": CTX, "u1_hash": U1_HASH, "sender": IDS[0], "receiver": IDS[1]}
    both = bytes(range(32))
    sealed = sealing.seal(CODE, sealing.SharePair(7, SEED, MASK), both, **scope)
    bound = _canon("share", CTX, U1_HASH, IDS[0], IDS[1], both)
    plain = AESGCM(CODE).decrypt(bytes(12), sealed, bound)
    assert plain == b"\x07" + SEED + MASK
