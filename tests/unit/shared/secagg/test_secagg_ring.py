import numpy as np
import pytest
from secagg_bench import params

from edgeveil.shared.secagg.primitives import ring
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.secagg.primitives.errors import Refused
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Segment


def _wide(bits: int, n: int):
    limit = (1 << (bits - 1)) - 1
    segments = (
        Segment("weight", UNSIGNED, 1, 1, 1),
        Segment("counts", UNSIGNED, 2, 1, ((1 << bits) - 1) // n),
        Segment("params", SIGNED, 4, 1, limit // n),
    )
    return params(n, bits=bits, segments=segments)


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("n", [3, 7, 255])
def test_extreme_sums_do_not_wrap(bits, n):
    wanted = _wide(bits, n)
    wanted.check_overflow()
    top = np.array([1] + [s.bound for s in wanted.segments[1:] for _ in range(s.count)], np.int64)
    low = np.concatenate([top[:1], np.zeros(2, np.int64), -top[3:]])
    for vector in (top, low):
        total = ring.zeros(wanted.lanes, bits)
        for _ in range(n):
            total += ring.to_ring(vector, wanted)
        if bits == 24:
            total &= np.uint32(0xFFFFFF)
        assert (ring.decode_sum(total, wanted) == n * vector).all()


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_one_more_than_the_limit_is_refused(bits):
    wanted = _wide(bits, 7)
    for place in (1, 2):
        segments = list(wanted.segments)
        old = segments[place]
        segments[place] = Segment(old.name, old.kind, old.count, 1, old.bound + 1)
        with pytest.raises(Refused) as refusal:
            params(7, bits=bits, segments=tuple(segments)).check_overflow()
        assert refusal.value.code == "POLICY_VECTOR"


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(4, np.int64),
        np.zeros(3, np.int32),
        np.array([1, 101, 0], np.int64),
        np.array([1, -101, 0], np.int64),
        np.array([-1, 0, 0], np.int64),
        np.array([2, 0, 0], np.int64),
    ],
    ids=["length", "dtype", "above", "below", "negative weight", "weight of two"],
)
def test_a_vector_outside_its_bounds_never_enters_the_ring(vector):
    with pytest.raises(Refused) as refusal:
        ring.to_ring(vector, params(3, lanes=2))
    assert refusal.value.code == "POLICY_VECTOR"


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("off", [-1, 1])
def test_another_length_is_malformed(bits, off):
    with pytest.raises(Malformed):
        ring.unpack(bytes(10 * bits // 8 + off), 10, bits)


def test_24_bit_lanes_lose_their_high_byte_only_when_packed():
    lanes = np.array([0x12FFFFFF, 5], np.uint32)
    assert bytes(ring.pack(lanes, 24)).hex() == "ffffff050000"


LIMBS = Segment("counts", UNSIGNED, 9, 3, 10)  # base 8, three digits, three values


def test_limbs_recombine_after_summing():
    one, two = np.array([0, 511, 7], np.int64), np.array([100, 8, 63], np.int64)
    lanes = ring.split_limbs(one, LIMBS) + ring.split_limbs(two, LIMBS)
    assert ring.join_limbs(lanes, LIMBS).tolist() == [100, 519, 70]
    assert ring.split_limbs(one, LIMBS).max() <= LIMBS.bound


@pytest.mark.parametrize("counts", [[0, 512, 0], [-1, 0, 0], [0, 0]])
def test_counts_that_do_not_fit_their_limbs_are_refused(counts):
    with pytest.raises(ValueError, match="segment counts"):
        ring.split_limbs(np.array(counts, np.int64), LIMBS)


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_cohorts_may_fill_the_ring_to_its_last_value_and_no_further(bits):
    for kind, limit in ((SIGNED, 2 ** (bits - 1) - 1), (UNSIGNED, 2**bits - 1)):
        one = Segment("weight", UNSIGNED, 1)
        fits = Segment("x", kind, 2, 1, limit // 3)
        params(3, bits=bits, segments=(one, fits)).check_overflow()
        for bound in (limit // 3 + 1, limit // 3 + 2):
            wider = params(3, bits=bits, segments=(one, Segment("x", kind, 2, 1, bound)))
            with pytest.raises(Refused):
                wider.check_overflow()


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_half_of_the_ring_counts_as_negative(bits):
    wanted = params(3, bits=bits, lanes=2)
    half = 2 ** (bits - 1)
    total = np.array([half, half, half - 1]).astype(ring.dtype(bits))
    assert ring.decode_sum(total, wanted).tolist() == [half, -half, half - 1]


def test_digits_and_sums_are_64_bit_integers():
    assert ring.split_limbs(np.array([5, 6, 7]), LIMBS).dtype == np.int64
    assert ring.decode_sum(ring.zeros(6, 16), params(5)).dtype == np.int64


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_vectors_start_at_a_cache_line(bits):
    for count in (1, 1000, 100_001):
        lanes = ring.zeros(count, bits)
        assert (len(lanes), lanes.dtype, lanes.any()) == (count, ring.dtype(bits), False)
        assert lanes.ctypes.data % ring.LINE == 0
