import numpy as np
import pytest

from edgeveil.shared.tasks.features import BIAS, feature_count, fixed_features, flat_pixels


@pytest.fixture
def pictures():
    return np.random.default_rng(0).random((7, 28, 28)).astype(np.float32)


def test_fixed_features_of_28_by_28_are_589(pictures):
    assert feature_count(28, 28) == 589
    assert fixed_features(pictures).shape == (7, 589)
    assert fixed_features(pictures).dtype == np.float32


@pytest.mark.parametrize("features", [fixed_features, flat_pixels])
def test_each_record_is_centred_of_length_one_and_carries_the_bias(features, pictures):
    rows = features(pictures)
    assert np.allclose(rows[:, :-1].mean(axis=1), 0, atol=1e-6)
    assert np.allclose(np.linalg.norm(rows[:, :-1], axis=1), 1, atol=1e-5)
    assert (rows[:, -1] == np.float32(BIAS)).all()


@pytest.mark.parametrize("features", [fixed_features, flat_pixels])
def test_a_record_has_the_same_features_whatever_lies_beside_it(features, pictures, monkeypatch):
    together = features(pictures)
    alone = np.concatenate([features(pictures[row : row + 1]) for row in range(len(pictures))])
    assert np.allclose(together, alone, atol=1e-6)
    monkeypatch.setattr("edgeveil.shared.tasks.features.CHUNK", 2)
    assert features(pictures).shape == together.shape
    assert np.allclose(features(pictures), together, atol=1e-6)


@pytest.mark.parametrize("features", [fixed_features, flat_pixels])
def test_a_blank_image_and_no_image_give_finite_features(features):
    blank = features(np.zeros((2, 28, 28), dtype=np.float32))
    assert not blank[:, :-1].any()
    assert features(np.empty((0, 28, 28), dtype=np.float32)).shape[0] == 0


def test_brightness_and_contrast_of_a_record_do_not_change_its_pixel_features(pictures):
    assert np.allclose(flat_pixels(pictures * 0.5 + 0.25), flat_pixels(pictures), atol=1e-5)


def test_a_line_and_its_negative_have_the_same_orientation_histogram():
    line = np.zeros((1, 28, 28), dtype=np.float32)
    line[0, :, 13:15] = 1
    histograms = slice(0, 392)
    plain, negative = fixed_features(line)[0], fixed_features(1 - line)[0]
    assert np.corrcoef(plain[histograms], negative[histograms])[0, 1] > 0.999


def test_a_vertical_edge_fills_the_bin_of_its_horizontal_gradient_only():
    edge = np.zeros((1, 28, 28), dtype=np.float32)
    edge[0, :, 14:] = 1
    cells = fixed_features(edge)[0, :392].reshape(49, 8)
    low = cells.min()
    assert (cells[:, 0] > low).sum() == 7  # one column of cells has the edge
    assert np.allclose(cells[:, 1:], low)
