"""The cache of features: owner-only, exactly what is there now, and never a reason to stop."""

import stat

import numpy as np
import pytest

from edgeveil.agent.home.records.feature_cache import (
    FOLDER,
    SIGNATURE,
    TAG,
    FeatureCache,
    forget,
    keys,
)

IDENTITY, OTHER = b"a" * 32, b"b" * 32
WIDTH = 5


def some(count, salt=0):
    pixels = np.random.default_rng(salt).random((count, 4, 4, 3)).astype(np.float32)
    return dict(zip(keys(pixels), pixels.reshape(count, -1)[:, :WIDTH], strict=True))


def files(home):
    return sorted(path.name for path in (home / FOLDER).iterdir())


def test_what_is_kept_is_read_back_bit_for_bit_by_whoever_has_the_same_identity(tmp_path):
    found = some(3)
    FeatureCache(tmp_path, IDENTITY, WIDTH).keep(found)
    back = FeatureCache(tmp_path, IDENTITY, WIDTH).read()
    assert {key: row.tobytes() for key, row in back.items()} == {
        key: row.tobytes() for key, row in found.items()
    }
    assert FeatureCache(tmp_path, OTHER, WIDTH).read() == {}
    assert FeatureCache(tmp_path, IDENTITY, WIDTH + 1).read() == {}


def test_only_the_owner_can_read_it(tmp_path):
    FeatureCache(tmp_path, IDENTITY, WIDTH).keep(some(1))
    folder = tmp_path / FOLDER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_cache_that_others_can_read_is_not_believed(tmp_path):
    cache = FeatureCache(tmp_path, IDENTITY, WIDTH)
    cache.keep(some(1))
    next((tmp_path / FOLDER).glob("*.npy")).chmod(0o644)
    assert cache.read() == {}


def test_backup_programs_are_told_to_leave_it_out(tmp_path):
    FeatureCache(tmp_path, IDENTITY, WIDTH).keep({})
    assert (tmp_path / FOLDER / TAG).read_bytes().startswith(SIGNATURE.strip())


def test_what_is_not_kept_again_is_gone_and_so_is_what_another_network_made(tmp_path):
    FeatureCache(tmp_path, OTHER, WIDTH).keep(some(2))
    cache, found = FeatureCache(tmp_path, IDENTITY, WIDTH), some(3)
    cache.keep(found)
    gone = found.pop(next(iter(found)))
    cache.keep(found)
    assert set(cache.read()) == set(found)
    assert len(files(tmp_path)) == 2
    assert all(gone.tobytes() not in path.read_bytes() for path in (tmp_path / FOLDER).iterdir())
    forget(tmp_path)
    assert files(tmp_path) == [TAG]


@pytest.mark.parametrize("damage", [b"", b"no array", "cut", "strange", "not finite"])
def test_a_damaged_cache_is_an_empty_one(damage, tmp_path):
    cache = FeatureCache(tmp_path, IDENTITY, WIDTH)
    cache.keep(some(2))
    (path,) = (tmp_path / FOLDER).glob("*.npy")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    elif damage == "strange":
        np.save(path, np.zeros(3))
    elif damage == "not finite":
        cache.keep({key: row * np.float32("nan") for key, row in some(2).items()})
    else:
        path.write_bytes(damage)
    assert cache.read() == {}


def test_a_pickle_in_its_place_is_not_opened(tmp_path):
    cache = FeatureCache(tmp_path, IDENTITY, WIDTH)
    cache.keep({})
    (path,) = (tmp_path / FOLDER).glob("*.npy")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert cache.read() == {}


def test_pictures_of_equal_bytes_and_another_shape_have_other_keys():
    pixels = np.zeros((1, 4, 4, 3), dtype=np.float32)
    assert keys(pixels) != keys(pixels.reshape(1, 2, 8, 3))
    assert keys(pixels) == keys(pixels.copy())
