"""What other programs may call: the page names each entry point with exactly this signature."""

import inspect
import typing
from pathlib import Path

import numpy as np
import pytest

from edgeveil.shared import secagg
from edgeveil.shared.secagg.primitives import mask, parameters, ring, shamir

README = Path(secagg.__file__).parent / "README.md"
ENTRIES = [mask.expand, mask.add_into, shamir.split, shamir.combine, parameters.solve]
SIGNATURES = {
    "mask.expand": "(key: bytes, count: int, bits: int, *, cipher: str = 'aes-256-ctr', start: int = 0)",
    "mask.add_into": "(accumulator: Ring, key: bytes, *, cipher: str = 'aes-256-ctr', start: int = 0, "
    "subtract: bool = False)",
    "shamir.split": "(secret: bytes, threshold: int, xs: Sequence[int], "
    "random: Callable[[int], bytes] = os.urandom)",
    "shamir.combine": "(shares: Mapping[int, bytes], *, at: int = 0)",
    "parameters.solve": "(n: int, gamma: float, delta: float, *, sigma: int = 80, eta: int = 20, "
    "c_min: int = 1)",
}
KEY = bytes(range(32))


def _name(function):
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"


def _spelled(function):
    """The signature as the page writes it: short names for types and for urandom."""
    signature = inspect.signature(function).replace(return_annotation=inspect.Signature.empty)
    text = str(signature).replace(str(ring.Ring), "Ring").replace("collections.abc.", "")
    return text.replace("<built-in function urandom>", "os.urandom")


@pytest.mark.parametrize("function", ENTRIES, ids=_name)
def test_signatures_stay_as_promised_and_stand_on_the_page(function):
    assert _spelled(function) == SIGNATURES[_name(function)]
    assert (
        f"`{_name(function)}{SIGNATURES[_name(function)]}".replace("'", '"') in README.read_text()
    )
    assert "return" in typing.get_type_hints(function)
    assert function.__doc__


def test_expand_gives_fresh_lanes_and_add_into_adds_the_same_ones_in_place():
    for bits in (16, 24, 32):
        lanes = mask.expand(KEY, 1000, bits)
        assert lanes.dtype == ring.dtype(bits)
        assert lanes.flags.writeable
        assert int(lanes.max()) < 1 << bits
        accumulator = ring.zeros(1000, bits)
        same = accumulator
        assert mask.add_into(accumulator, KEY) is None
        assert (same & np.array((1 << bits) - 1, same.dtype) == lanes).all()


def test_an_unknown_cipher_or_ring_and_a_wrong_key_are_refused():
    with pytest.raises(ValueError, match="cipher"):
        mask.expand(KEY, 10, 32, cipher="rc4")
    with pytest.raises(ValueError, match="16, 24 or 32"):
        mask.expand(KEY, 10, 8)
    with pytest.raises(ValueError, match="key of 32 bytes"):
        mask.expand(KEY[:16], 10, 32)
    with pytest.raises(ValueError, match="not int64"):
        mask.add_into(np.zeros(10, np.int64), KEY)


def test_shares_split_by_default_randomness_combine_again():
    one, two = shamir.split(b"secret", 3, range(1, 6)), shamir.split(b"secret", 3, range(1, 6))
    assert one != two
    assert shamir.combine({x: one[x] for x in (5, 1, 3)}) == b"secret"


def test_solve_takes_the_default_assumptions():
    found = parameters.solve(1000, 0.1, 0.1)
    assert (found.k, found.t, found.h, found.quorum) == (120, 87, 29, 551)
