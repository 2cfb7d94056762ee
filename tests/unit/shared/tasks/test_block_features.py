import numpy as np
import pytest
from catalogue_bench import task_and_options

from edgeveil.shared.tasks import block_features as blocks
from edgeveil.shared.tasks.block_features import block_feature_count, block_features
from edgeveil.shared.tasks.features import BIAS


@pytest.fixture
def pictures():
    return np.random.default_rng(0).random((7, 28, 28)).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((28, 28), 1817),
        ((28, 28, 3), 2209),
        ((128, 160, 3), 2209),
        ((12, 20), 1681),
        ((8, 8), 1637),
    ],
)
def test_the_numbers_of_a_picture_do_not_grow_with_it(shape, count):
    rows = block_features(np.random.default_rng(1).random((2, *shape)).astype(np.float32))
    assert rows.shape == (2, count) == (2, block_feature_count(*shape))
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()


def test_each_record_is_centred_of_length_one_and_carries_the_bias(pictures):
    rows = block_features(pictures)
    assert np.allclose(rows[:, :-1].mean(axis=1), 0, atol=1e-6)
    assert np.allclose(np.linalg.norm(rows[:, :-1], axis=1), 1, atol=1e-5)
    assert (rows[:, -1] == np.float32(BIAS)).all()


def test_a_record_has_the_same_features_whatever_lies_beside_it(pictures, monkeypatch):
    together = block_features(pictures)
    alone = np.concatenate([block_features(pictures[row : row + 1]) for row in range(7)])
    assert np.allclose(together, alone, atol=1e-6)
    monkeypatch.setattr(blocks, "CHUNK", 2)
    assert np.allclose(block_features(pictures), together, atol=1e-6)


def test_no_picture_and_an_even_one_give_finite_features():
    even = block_features(np.full((2, 28, 28), 0.5, dtype=np.float32))
    assert np.abs(even[:, :-1]).max() < 1e-6
    assert block_features(np.empty((0, 28, 28), dtype=np.float32)).shape == (0, 1817)


def test_faint_strokes_count_nearly_as_much_as_strong_ones():
    strong = np.zeros((1, 28, 28, 1), dtype=np.float32)
    strong[:, 6:20, 6:20] = 1
    for bright, dim in zip(blocks._blocks(strong), blocks._blocks(0.3 * strong), strict=True):
        assert np.linalg.norm(dim) > 0.9 * np.linalg.norm(bright)


def test_a_pixel_belongs_to_one_cell_whatever_the_size():
    for side in (8, 12, 28, 100):
        everywhere = np.ones((1, side, side), dtype=np.float32)
        for cells in blocks.GRIDS:
            sums = blocks._summed(everywhere, cells, cells)
            assert sums.sum() == side * side
            assert sums.min() >= 1
    assert (blocks._summed(np.ones((1, 28, 28), dtype=np.float32), 7, 7) == 16).all()
    assert (blocks._summed(np.ones((1, 28, 28), dtype=np.float32), 4, 4) == 49).all()


def test_a_head_on_blocks_has_the_documented_number_of_parameters():
    task, options = task_and_options("feature-head", "fixed", features="blocks")
    (weight,) = task.tensors(options)
    assert weight.shape == (10, 1817)
    assert "blocks-v1" in task.signature(options)["preprocessing"]
