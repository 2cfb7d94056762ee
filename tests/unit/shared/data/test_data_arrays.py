import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from catalogue_bench import write_npz
from numpy.lib import format as npy

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.arrays import open_arrays

LARGE = 1 << 20


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
        np.array([1, -2], dtype=">i8"),
        np.zeros((0, 4), dtype=np.float64),
        np.array([True, False]),
    ],
)
@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(array, writer, tmp_path):
    path = tmp_path / "data.npz"
    writer(path, X=array, other=np.ones(3))
    found = open_arrays(path, ("X",), most=LARGE)
    assert list(found) == ["X"]
    assert found["X"].dtype == array.dtype
    assert np.array_equal(found["X"], array)


def test_refuses_a_header_that_promises_more_than_the_file_holds(tmp_path):
    path = _forge(tmp_path, shape=(100_000, 1_000_000), dtype="<f8", body=b"\x00" * 64)
    with pytest.raises(DataError, match="promises 800000000000 bytes"):
        open_arrays(path, ("X",), most=LARGE)


@pytest.mark.parametrize(
    ("dtype", "body"), [("|O", b"\x80"), ("<U1", b"abcd"), ("<c8", b"8bytes!!")]
)
def test_refuses_everything_but_plain_numbers(dtype, body, tmp_path):
    path = _forge(tmp_path, shape=(1,), dtype=dtype, body=body)
    with pytest.raises(DataError, match="not a readable"):
        open_arrays(path, ("X",), most=LARGE)


def test_never_unpickles(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.array([Exploding()], dtype=object))
    with pytest.raises(DataError):
        open_arrays(path, ("X",), most=LARGE)
    assert not Exploding.unpickled


def test_refuses_a_member_that_unpacks_to_more_than_the_limit(tmp_path):
    path = write_npz(tmp_path / "data.npz", X=np.zeros(200_000, dtype=np.uint8))
    assert path.stat().st_size < 2000
    assert open_arrays(path, ("X",), most=200_128)["X"].size == 200_000
    with pytest.raises(DataError, match="200128 bytes unpacked, at most 200000"):
        open_arrays(path, ("X",), most=200_000)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_refuses_a_compression_that_numpy_never_writes(method, tmp_path):
    made = io.BytesIO()
    np.save(made, np.zeros(100))
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("X.npy", made.getvalue())
    with pytest.raises(DataError, match="compression"):
        open_arrays(path, ("X",), most=LARGE)


def test_never_unpacks_more_than_the_directory_says_whatever_is_packed(tmp_path):
    """A member of 64 MB whose size is forged: what is over is not even looked at."""
    made = io.BytesIO()
    np.save(made, np.zeros(100, np.uint8))
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", made.getvalue() + bytes(64 << 20))
    whole, size = path.read_bytes(), len(made.getvalue())
    forged = whole.replace(struct.pack("<I", size + (64 << 20)), struct.pack("<I", size))
    path.write_bytes(forged)
    tracemalloc.start()
    with pytest.raises(DataError):
        open_arrays(path, ("X",), most=LARGE)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_names_the_array_that_is_missing(tmp_path):
    path = write_npz(tmp_path / "data.npz", X=np.zeros(3))
    with pytest.raises(DataError, match="'y' is missing"):
        open_arrays(path, ("X", "y"), most=LARGE)


def test_refuses_a_file_cut_short_or_changed_anywhere(tmp_path):
    path = tmp_path / "data.npz"
    whole = write_npz(path, X=np.arange(500, dtype=np.int64)).read_bytes()
    for size in range(0, len(whole), 37):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"data\.npz"):
            open_arrays(path, ("X",), most=LARGE)
    expected = np.arange(500)
    for at in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[at] ^= 0x55
        path.write_bytes(damaged)
        try:
            found = open_arrays(path, ("X",), most=LARGE)["X"]
        except DataError:
            continue
        assert np.array_equal(found, expected)  # a byte that carries no content: a date, a flag


def test_refuses_an_unknown_format_version_and_an_encrypted_member(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", b"\x93NUMPY\x09\x00" + b"\x00" * 64)
    with pytest.raises(DataError, match="unknown array format"):
        open_arrays(path, ("X",), most=LARGE)
    locked = bytearray(write_npz(path, X=np.zeros(3)).read_bytes())
    at = locked.index(b"PK\x01\x02") + 8  # the general purpose flags of the central directory
    locked[at : at + 2] = struct.pack("<H", 1)
    path.write_bytes(locked)
    with pytest.raises(DataError, match="not a plain"):
        open_arrays(path, ("X",), most=LARGE)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3,)",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-3, -1)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': 3}",
        "{'descr': ['<f8'], 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<f8', 'shape': (3,)}",
        "__import__('os').getpid()",
        "(" * 3000 + ")" * 900,
        "[" * 200 + "]" * 200,
        "\x00" * 64,
        "",
    ],
)
def test_refuses_a_header_that_is_not_one(header, tmp_path):
    text = header.encode("latin1") + b"\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"\x00" * 24
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", member)
    with pytest.raises(DataError, match="not a readable"):
        open_arrays(path, ("X",), most=LARGE)


def test_any_changed_byte_of_a_header_is_refused_or_harmless(tmp_path):
    path = tmp_path / "data.npz"
    original = io.BytesIO()
    npy.write_array(original, np.arange(3.0))
    random = np.random.default_rng(2)
    for _ in range(400):
        member = bytearray(original.getvalue())
        member[random.integers(0, 128)] = random.integers(0, 256)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("X.npy", bytes(member))
        try:
            assert open_arrays(path, ("X",), most=LARGE)["X"].nbytes == 24
        except DataError:
            continue


class Exploding:
    unpickled = False

    def __setstate__(self, state):
        Exploding.unpickled = True

    def __getstate__(self):
        return {"something": 1}


def _forge(folder, *, shape, dtype, body):
    member = io.BytesIO()
    npy.write_array_header_1_0(member, {"descr": dtype, "fortran_order": False, "shape": shape})
    path = folder / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", member.getvalue() + body)
    return path
