import numpy as np
import pytest
from secagg_bench import Bench, params

from edgeveil.shared.secagg.primitives import mask, ring
from edgeveil.shared.secagg.server import mask_removal as unmasking

KEY = bytes(range(32))


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("cipher", [mask.AES, mask.CHACHA])
def test_any_start_reads_the_same_stream(bits, cipher):
    whole = mask.expand(KEY, 70_000, bits, cipher=cipher)
    for start in (0, 1, 3, 15, 16, 33, 16_383, 32_768, 69_999):
        part = mask.expand(KEY, min(50, 70_000 - start), bits, cipher=cipher, start=start)
        assert (part == whole[start : start + 50]).all()


@pytest.mark.parametrize("cipher", [mask.AES, mask.CHACHA])
def test_the_mask_depends_on_every_bit_of_the_key(cipher):
    first = mask.expand(KEY, 4, 32, cipher=cipher).tobytes()
    seen = {first}
    for bit in range(256):
        flipped = bytearray(KEY)
        flipped[bit // 8] ^= 1 << bit % 8
        seen.add(mask.expand(bytes(flipped), 4, 32, cipher=cipher).tobytes())
    assert len(seen) == 257


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_adding_and_subtracting_cancel(bits):
    lanes = ring.zeros(50_000, bits)
    lanes[:] = np.arange(50_000)
    mask.add_into(lanes, KEY)
    assert (lanes != np.arange(50_000)).mean() > 0.99
    mask.add_into(lanes, KEY, subtract=True)
    assert (lanes == np.arange(50_000)).all()


@pytest.mark.parametrize("cipher", [mask.AES, mask.CHACHA])
def test_residues_are_uniform(cipher):
    lanes = mask.expand(KEY, 1 << 18, 16, cipher=cipher)
    counts = np.bincount(lanes >> 8, minlength=256)
    expected = len(lanes) / 256
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert 180 < chi_square < 345  # 255 degrees of freedom, both tails below 1e-3


def test_differences_of_neighbouring_lanes_look_random():
    lanes = mask.expand(KEY, 1 << 16, 32)
    assert len(np.unique(np.diff(lanes))) > (1 << 16) - 10


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("bits", [16, 32])
def test_ranges_cover_every_lane_once(parts, bits):
    count, width = 100_001, bits // 8 if bits == 16 else 4
    ranges = unmasking._ranges(count, width, parts)
    assert [lane for part in ranges for lane in part] == list(range(count))
    assert len(ranges) <= parts
    assert all(part.start * width % mask.CHUNK == 0 for part in ranges)


@pytest.mark.parametrize("parts", [1, 4])
def test_unmasking_in_parts_gives_the_same_sum(parts):
    bench = Bench.of(5, params(5, lanes=100_000), setup_extra={"parts": parts})
    result = bench.play({"masked": [1]})
    assert (result.lanes == bench.expected(result)).all()


def test_every_mask_key_is_expanded_once_per_vector(monkeypatch):
    """The slip of other systems: one keystream for several vectors, or one mask for all lanes."""
    used = []
    real = mask.add_all_into

    def recording(accumulator, signed, **options):
        used.extend(signed)
        real(accumulator, signed, **options)

    bench = Bench.of(5)
    stage = bench.stage()
    for name in ("advert", "share"):
        bench.exchange(name, stage)
        stage = stage.close()
    monkeypatch.setattr(mask, "add_all_into", recording)
    bench.exchange("masked", stage)
    signs = {}
    for key, subtract in used:
        signs.setdefault(key, []).append(subtract)
    pairs = [sorted(both) for both in signs.values() if len(both) == 2]
    alone = [both for both in signs.values() if len(both) == 1]
    assert len(pairs) == 10
    assert all(both == [False, True] for both in pairs)
    assert alone == [[False]] * 5


def test_a_masked_vector_says_nothing_about_its_input():
    bench = Bench.of(3, params(3, lanes=50_000))
    bench.play()
    for name, _, _, _, vector in bench.traffic:
        if name == "masked":
            counts = np.bincount(np.frombuffer(vector, "<u2") >> 8, minlength=256)
            expected = counts.sum() / 256
            assert ((counts - expected) ** 2 / expected).sum() < 400


def test_many_masks_start_at_lane_zero_and_use_aes_unless_told_otherwise():
    one, many = np.zeros(9, np.uint16), np.zeros(9, np.uint16)
    mask.add_into(one, bytes(32))
    mask.add_all_into(many, [(bytes(32), False)])
    assert (one == many).all()
    assert (many == mask.expand(bytes(32), 9, 16, cipher="aes-256-ctr", start=0)).all()


def test_the_masks_two_lost_agents_shared_are_in_no_upload_and_are_not_removed():
    bench = Bench.of(6)
    result = bench.play({"masked": [1, 4]})
    assert len(result.u3) == 4
    assert (result.lanes == bench.expected(result)).all()
