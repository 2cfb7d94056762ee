"""Masks: a 32-byte key expanded to lanes, added to a vector 128 KB at a time.

docs/protocol.md, "Masks". AES-256-CTR (SP 800-38A) with a zero counter block, or ChaCha20 (RFC 8439)
with a zero nonce; both start at offset 0. The contract of a key is ONE expansion: a key used for two
vectors would reveal their difference. The fused loop keeps the keystream in cache and allocates
nothing per chunk.
"""

from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from edgeveil.shared.secagg.primitives import ring
from edgeveil.shared.secagg.primitives.parameters import LANE_BITS
from edgeveil.shared.secagg.primitives.ring import Ring

AES, CHACHA = "aes-256-ctr", "chacha20"
CHUNK = 1 << 17  # bytes; 128 KB each of zeros, keystream and vector stay in the second-level cache
_ZEROS = bytes(CHUNK)
_BLOCK = {AES: 16, CHACHA: 64}  # bytes of keystream per counter step
_LANES = tuple(map(ring.dtype, LANE_BITS))


def add_into(
    accumulator: Ring,
    key: bytes,
    *,
    cipher: str = AES,
    start: int = 0,
    subtract: bool = False,
) -> None:
    """Add (or subtract) the lanes `start`, `start`+1, … of the key's mask in place, modulo the ring.

    `accumulator` is uint16 (b = 16) or uint32 (b = 24, 32); no keystream as long as it is allocated.

    Raises:
        ValueError: a key that is not 32 bytes long, an unknown cipher, lanes of another type.
    """
    add_all_into(accumulator, ((key, subtract),), cipher=cipher, start=start)


def add_all_into(
    accumulator: Ring, keys: Iterable[tuple[bytes, bool]], *, cipher: str = AES, start: int = 0
) -> None:
    """add_into for many (key, subtract) at once: each piece of the vector is read and written once.

    All keystreams stay open side by side, about 1 kB each.
    """
    if accumulator.dtype not in _LANES:
        raise ValueError(f"lanes are uint16 or uint32, not {accumulator.dtype}")
    width = accumulator.itemsize
    lanes = CHUNK // width
    streams = [
        (_open(key, cipher, start * width).update_into, np.subtract if subtract else np.add)
        for key, subtract in keys
    ]
    keystream = ring.zeros(lanes + 16 // width, 8 * width)  # the cipher asks for a block to spare
    out = keystream.data.cast("B")
    for first in range(0, len(accumulator), lanes):
        part = accumulator[first : first + lanes]
        zeros, fresh = _ZEROS[: part.nbytes], keystream[: len(part)]
        for fill, operation in streams:
            fill(zeros, out)
            operation(part, fresh, part)


def expand(key: bytes, count: int, bits: int, *, cipher: str = AES, start: int = 0) -> Ring:
    """`count` fresh mask lanes from lane `start` on; 24-bit lanes are cut to 24 bits.

    uint16 for 16 bits, uint32 for 24 and 32; raises ValueError as add_into does.
    """
    lanes = ring.zeros(count, bits)
    add_into(lanes, key, cipher=cipher, start=start)
    if bits == 24:
        lanes &= np.uint32(0xFFFFFF)
    return lanes


def _open(key: bytes, cipher: str, offset: int) -> CipherContext:
    """A cipher whose next keystream byte is number `offset`."""
    if cipher not in _BLOCK or len(key) != 32:
        raise ValueError(f"a mask takes a key of 32 bytes and a cipher of {sorted(_BLOCK)}")
    block, rest = divmod(offset, _BLOCK[cipher])
    if cipher == AES:
        stream = Cipher(algorithms.AES(key), modes.CTR(block.to_bytes(16, "big"))).encryptor()
    else:
        nonce = block.to_bytes(4, "little") + bytes(12)
        stream = Cipher(algorithms.ChaCha20(key, nonce), None).encryptor()
    if rest:
        stream.update(bytes(rest))
    return stream
