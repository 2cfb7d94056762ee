import hashlib

import numpy as np
import pytest

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.secagg.primitives.canonical import canon, digest, list_bytes, u32
from edgeveil.shared.vector.model_vector import (
    MAX_PARAMETERS,
    check_tensors,
    check_vector,
    count,
    flatten,
    model_hash,
    unflatten,
)
from edgeveil.shared.wire.messages import MAX_TENSORS, Tensor

TENSORS = (Tensor("0.bias", (3,)), Tensor("0.weight", (2, 3)), Tensor("scale", ()))
VECTOR = np.arange(10, dtype=np.float32)


def test_flatten_and_unflatten_are_inverse_and_row_major():
    arrays = unflatten(VECTOR, TENSORS)
    assert arrays["0.bias"].tolist() == [0, 1, 2]
    assert arrays["0.weight"].tolist() == [[3, 4, 5], [6, 7, 8]]
    assert arrays["scale"].shape == ()
    assert flatten(arrays, TENSORS).tobytes() == VECTOR.tobytes()
    reordered = {**arrays, "0.weight": np.asfortranarray(arrays["0.weight"])}
    assert flatten(reordered, TENSORS).tobytes() == VECTOR.tobytes()


def test_unflatten_gives_views_and_flatten_an_owned_copy():
    vector = VECTOR.copy()
    arrays = unflatten(vector, TENSORS)
    copy = flatten(arrays, TENSORS)
    arrays["scale"][...] = 99
    assert vector[-1] == 99
    assert copy[-1] == 9


def test_a_received_vector_is_owned_writable_float32_whatever_the_buffer():
    raw = VECTOR.astype("<f4").tobytes()
    for buffer in (raw, bytearray(raw), memoryview(raw)):
        found = check_vector(buffer, TENSORS)
        assert found.tolist() == VECTOR.tolist()
        assert found.dtype == np.float32
        found[0] = 5
    assert raw == VECTOR.astype("<f4").tobytes()


@pytest.mark.parametrize("raw", [b"", b"\x00" * 39, b"\x00" * 41, b"\x00" * 44])
def test_refuses_a_vector_of_another_length(raw):
    _refuses(f"{len(raw)} bytes where the tensors need 40", check_vector, raw, TENSORS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_a_vector_that_is_not_finite(value):
    for place in (0, 5, 9):
        vector = VECTOR.copy()
        vector[place] = value
        _refuses("not finite", check_vector, vector.tobytes(), TENSORS)


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ((), "0 tensors"),
        ((Tensor("b", (1,)), Tensor("a", (1,))), "ascending"),
        ((Tensor("a", (1,)), Tensor("a", (1,))), "unique"),
        ((Tensor("a", (0, 5)),), "empty dimension"),
        ((Tensor("a", (2**32 - 1,) * 8),), "parameters, at most"),
        ((Tensor("a", (MAX_PARAMETERS + 1,)),), "parameters, at most"),
        (tuple(Tensor(f"{n:05}", (1,)) for n in range(MAX_TENSORS + 1)), "tensors, allowed"),
    ],
)
def test_refuses_a_tensor_list_that_is_unbounded_or_has_two_spellings(tensors, fault):
    _refuses(fault, check_tensors, tensors)
    _refuses(fault, check_vector, b"\x00" * 4, tensors)


def test_refuses_to_flatten_other_names_or_shapes():
    arrays = unflatten(VECTOR, TENSORS)
    _refuses("other", flatten, {**arrays, "other": VECTOR}, TENSORS)
    _refuses("scale", flatten, {k: v for k, v in arrays.items() if k != "scale"}, TENSORS)
    _refuses(r"0\.bias has shape", flatten, {**arrays, "0.bias": VECTOR[:2]}, TENSORS)
    _refuses("10 values belong", unflatten, VECTOR[:-1], TENSORS)


def test_the_model_hash_is_the_documented_bytes():
    entries = []
    for tensor, raw in zip(TENSORS, (VECTOR[:3], VECTOR[3:9], VECTOR[9:]), strict=True):
        dims = b"".join(u32(n) for n in tensor.shape)
        content = hashlib.sha256(raw.astype("<f4").tobytes()).digest()
        entries.append(canon("tensor", tensor.name.encode(), b"float32", dims, content))
    assert model_hash(VECTOR, TENSORS) == digest("model", list_bytes(entries))


def test_the_model_hash_changes_with_every_value_name_and_shape():
    reference = model_hash(VECTOR, TENSORS)
    for place in range(10):
        changed = VECTOR.copy()
        changed[place] = np.nextafter(changed[place], np.float32(100))
        assert model_hash(changed, TENSORS) != reference
    renamed = (Tensor("0.bia", (3,)), *TENSORS[1:])
    reshaped = (TENSORS[0], Tensor("0.weight", (3, 2)), TENSORS[2])
    assert model_hash(VECTOR, renamed) != reference
    assert model_hash(VECTOR, reshaped) != reference
    assert count(reshaped) == 10


def _refuses(fault, function, *arguments):
    with pytest.raises(ProtocolError, match=fault) as caught:
        function(*arguments)
    assert caught.value.code is RefusalCode.MODEL_INVALID
