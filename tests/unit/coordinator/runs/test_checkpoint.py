import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save as encode_tensors

from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.wire.messages import Tensor

TENSORS = (Tensor("0.bias", (3,)), Tensor("0.weight", (2, 3)), Tensor("scale", ()))
VECTOR = np.linspace(-1, 1, 10).astype(np.float32)
METADATA = {"run": "run-1", "round": "3", "task": "feature-head", "note": "ε ≤ 8"}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "round-3.safetensors"
    return path, checkpoint.save(path, VECTOR, TENSORS, METADATA)


def test_what_is_saved_is_loaded_bit_for_bit(saved):
    path, sha256 = saved
    found = checkpoint.load(path, sha256=sha256)
    assert found.vector.tobytes() == VECTOR.tobytes()
    assert found.tensors == TENSORS
    assert found.metadata == METADATA
    assert found.sha256 == sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    found.vector[0] = 5  # owned and writable


def test_the_library_itself_reads_the_file(saved):
    path, _ = saved
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == METADATA
        assert file.get_tensor("0.weight").tolist() == VECTOR[3:9].reshape(2, 3).tolist()


def test_the_same_model_makes_the_same_file_in_every_process(saved, tmp_path):
    _, sha256 = saved
    code = (
        "import numpy as np, pathlib, sys; from edgeveil.coordinator.runs import checkpoint;"
        "from edgeveil.shared.wire.messages import Tensor;"
        f"tensors = {TENSORS!r}; metadata = dict(reversed({METADATA!r}.items()));"
        "vector = np.linspace(-1, 1, 10).astype(np.float32);"
        "print(checkpoint.save(pathlib.Path(sys.argv[1]), vector, tensors, metadata))"
    )
    for _ in range(3):
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "other")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == sha256


def test_a_file_cut_anywhere_is_damaged(saved):
    path, _ = saved
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(StateDamaged, match=r"round-3\.safetensors"):
            checkpoint.load(path)


def test_a_changed_byte_anywhere_is_noticed_with_the_recorded_hash(saved):
    path, sha256 = saved
    whole = path.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(StateDamaged, match=f"the record says {sha256}"):
            checkpoint.load(path, sha256=sha256)


def test_a_changed_byte_without_a_recorded_hash_never_raises_anything_else(saved):
    path, _ = saved
    whole = path.read_bytes()
    for at in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[at] ^= flip
            path.write_bytes(damaged)
            try:
                assert np.isfinite(checkpoint.load(path).vector).all()
            except StateDamaged:
                continue


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": np.array([np.nan], np.float32)},
        {"a": np.array([1.0], np.float64)},
        {"a": np.array([1], np.int32)},
        {"a": np.zeros((0, 3), np.float32)},
        {},
    ],
)
def test_a_foreign_safetensors_file_that_is_no_model_is_damaged(arrays, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(encode_tensors(arrays))
    with pytest.raises(StateDamaged):
        checkpoint.load(path)


def test_a_hostile_header_is_damaged_and_costs_no_memory(tmp_path):
    path = tmp_path / "a.safetensors"
    for size, header in [
        (1 << 60, b"{}"),
        (2, b"[]"),
        (40_000, b"[" * 40_000),
        (None, json.dumps({"__metadata__": [1]}).encode()),
        (
            None,
            json.dumps(
                {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}
            ).encode(),
        ),
    ]:
        length = len(header) if size is None else size
        path.write_bytes(length.to_bytes(8, "little") + header + b"\x00" * 4)
        with pytest.raises(StateDamaged):
            checkpoint.load(path)


def test_an_absent_and_an_endless_file_are_damaged(saved, monkeypatch):
    path, _ = saved
    with pytest.raises(StateDamaged, match="cannot be read"):
        checkpoint.load(path.with_name("nothing"))
    monkeypatch.setattr(checkpoint, "MAX_FILE", 100)
    with pytest.raises(StateDamaged, match="longer than the 100 bytes"):
        checkpoint.load(path)


def test_a_failed_write_leaves_the_old_checkpoint(saved, monkeypatch):
    path, sha256 = saved
    monkeypatch.setattr("os.fsync", _full_disk)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, VECTOR + 1, TENSORS, METADATA)
    assert checkpoint.load(path).sha256 == sha256
    assert list(path.parent.iterdir()) == [path]


def _full_disk(_handle):
    raise OSError("disk full")


class Exploding:
    """Leaves a trace when it is unpickled."""

    done = False

    def __reduce__(self):
        return (setattr, (Exploding, "done", True))


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_or_torch_file_in_its_place_is_damaged_and_never_unpickled(tmp_path, kind):
    path = tmp_path / "round-0001.safetensors"
    if kind == "pickle":
        import pickle

        path.write_bytes(pickle.dumps({"weight": Exploding()}))
    else:
        import torch

        torch.save({"weight": torch.zeros(3), "evil": Exploding()}, path)
    with pytest.raises(StateDamaged):
        checkpoint.load(path)
    assert not Exploding.done
