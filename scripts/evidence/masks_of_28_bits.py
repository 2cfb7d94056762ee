"""A server that follows the protocol reads one client's weights out of its masked upload.

    python scripts/evidence/masks_of_28_bits.py

Flower folds the text of a pair's key to 32 bits, of which 28 vary, and seeds a Mersenne Twister with them. No search
of 2^28 is needed: words 0 and 227 give the seed back (their XOR holds word 228 of the state, and seeding runs
backwards). Word 0 masks the client's weight, which the server is told; word 227 masks one of 2^22 quantised values,
and all are tried. Shown for a client with one neighbour. Of secagg-v1 each bit of a pair's key changes its mask.
"""

import os
from functools import reduce
from importlib.metadata import version
from operator import and_, or_

import numpy as np
from flwr.app import ConfigRecord
from flwr.client.mod.secure_aggregation.secaggplus_mod import (
    SecAggPlusState,
    _collect_masked_vectors,
    _setup,
    _share_keys,
    _unmask,
)
from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
from flwr.common.secure_aggregation.crypto.shamir import combine_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
from flwr.common.secure_aggregation.quantization import dequantize
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.supercore.primitives.asymmetric import generate_key_pairs

from edgeveil.shared.secagg.primitives import mask
from edgeveil.shared.secagg.primitives.keys import KeyPair, pair_mask_key

# What the server of Flower sets by default, with a vector of more than 227 values and two clients.
CLIP, VALUES, RING, MAX_WEIGHT = 8.0, 1 << 22, 1 << 32, 1000.0
VICTIM, PEER, EXAMPLES, LENGTH = 1, 2, 600, 1000
SEED_BITS = 0x7F7F7F7F
MULTIPLIER = 1812433253
INVERSE = pow(MULTIPLIER, -1, RING)
WORD = np.uint32


def flower_fold(key: bytes) -> int:
    return reduce(lambda folded, word: folded ^ int(word), np.frombuffer(key, "<u4"), 0)


def flower_bits(pairs: int = 200) -> int:
    """Bits that any of so many folded keys has set, and that give its mask; all if a fold does not."""
    own, _ = generate_key_pairs()
    bits = 0
    for _ in range(pairs):
        key = generate_shared_key(own, generate_key_pairs()[1])
        folded = flower_fold(key)
        short, whole = (
            pseudo_rand_gen(seed, RING, [(4,)])[0] for seed in (folded.to_bytes(4, "little"), key)
        )
        bits |= folded if (short == whole).all() else (1 << 256) - 1
    return bits


def flower_round(weights: np.ndarray) -> tuple[np.ndarray, bytes]:
    """What the server receives of the victim in an honest round: its upload, and the seed of its own mask."""
    settings = {
        Key.SAMPLE_NUMBER: 2, Key.SHARE_NUMBER: 2, Key.THRESHOLD: 2, Key.CLIPPING_RANGE: CLIP,
        Key.TARGET_RANGE: VALUES, Key.MOD_RANGE: RING, Key.MAX_WEIGHT: MAX_WEIGHT,
    }  # fmt: skip
    states = {nid: SecAggPlusState(nid=nid) for nid in (VICTIM, PEER)}
    publics = {}
    for nid, state in states.items():
        made = _setup(state, ConfigRecord(settings))
        publics[str(nid)] = [made[Key.PUBLIC_KEY_1], made[Key.PUBLIC_KEY_2]]
    sealed = {nid: _share_keys(state, ConfigRecord(publics)) for nid, state in states.items()}
    uploads = {}
    for nid, state in states.items():
        other = VICTIM + PEER - nid
        passed = {Key.CIPHERTEXT_LIST: sealed[other][Key.CIPHERTEXT_LIST], Key.SOURCE_LIST: [other]}
        sent = _collect_masked_vectors(
            state, ConfigRecord(passed), EXAMPLES, ndarrays_to_parameters([weights])
        )
        uploads[nid] = np.concatenate([bytes_to_ndarray(b) for b in sent[Key.MASKED_PARAMETERS]])
    asked = ConfigRecord({Key.ACTIVE_NODE_ID_LIST: [VICTIM, PEER], Key.DEAD_NODE_ID_LIST: []})
    shares = [_unmask(state, asked)[Key.SHARE_LIST][0] for state in states.values()]
    return uploads[VICTIM], combine_shares(shares)


def seeds_from(first: int, words: np.ndarray) -> np.ndarray:
    """All seeds of 28 bits whose Mersenne Twister gives `first` as word 0 and one of `words` as word 227."""
    twisted = untempered(np.array([first], WORD)) ^ untempered(words)
    odd = twisted >> WORD(31)
    joined = ((twisted ^ (odd * WORD(0x9908B0DF))) << WORD(1)) | odd
    low = joined & WORD(0x7FFFFFFF)
    found = []
    for top in (WORD(0), WORD(1 << 31)):
        state = seeded_backwards(low | top, 228)
        kept = (
            (state ^ joined) >> WORD(31)
        ) == 0  # word 227 has the top bit that went into the twist
        for block in np.array_split(state[kept], 256):
            back = block
            for i in range(227, 0, -1):
                back = seeded_backwards(back, i)
            found.append(back[(back & WORD(~SEED_BITS & 0xFFFFFFFF)) == 0])
    return np.concatenate(found)


def seeded_backwards(state: np.ndarray, i: int) -> np.ndarray:
    """Word i - 1 of the state that seeding made, from word i."""
    before = (state - WORD(i)) * WORD(INVERSE)
    return before ^ (before >> WORD(30))


def untempered(words: np.ndarray) -> np.ndarray:
    y = words ^ (words >> WORD(18))
    y = y ^ ((y << WORD(15)) & WORD(0xEFC60000))
    x = y
    for _ in range(4):
        x = y ^ ((x << WORD(7)) & WORD(0x9D2C5680))
    y = x
    for _ in range(2):
        x = y ^ (x >> WORD(11))
    return x


def flower_weights(upload: np.ndarray, own_seed: bytes) -> np.ndarray | None:
    """The victim's weights, from what flower_round gives and the number of its examples."""
    shapes = [(len(upload),)]
    seen = (upload - pseudo_rand_gen(own_seed, RING, shapes)[0]) % RING  # value - mask of the pair
    factor = round(EXAMPLES / MAX_WEIGHT * VALUES)
    words = (np.arange(VALUES + 1) - seen[227]) % RING
    for seed in seeds_from(int(factor - seen[0]) % RING, words.astype(WORD)):
        pair = pseudo_rand_gen(int(seed).to_bytes(4, "little"), RING, [(8,)])[0]
        if ((seen[:8] + pair) % RING <= VALUES).all():
            pair = pseudo_rand_gen(int(seed).to_bytes(4, "little"), RING, shapes)[0]
            return dequantize([(seen + pair) % RING], CLIP, VALUES)[0][1:] * VALUES / factor
    return None


def our_bits(pairs: int = 200) -> int:
    """Bits of a pair's key that differ between pairs and change its mask."""
    own = KeyPair.generate(os.urandom)
    scope = {"ctx": bytes(32), "u1_hash": bytes(32), "own_id": bytes(16), "other_id": b"\1" * 16}
    peers = (KeyPair.generate(os.urandom).public for _ in range(pairs))
    keys = [int.from_bytes(pair_mask_key(own, peer, **scope)) for peer in peers]
    varying = reduce(or_, keys) & ~reduce(and_, keys)
    masks = {mask.expand((keys[0] ^ 1 << bit).to_bytes(32), 4, 32).tobytes() for bit in range(256)}
    masks.add(mask.expand(keys[0].to_bytes(32), 4, 32).tobytes())
    return min(varying.bit_count(), len(masks) - 1)


def main() -> int:
    weights = np.random.default_rng().normal(0, 0.05, LENGTH)
    bits = flower_bits().bit_count()
    found = flower_weights(*flower_round(weights))
    error = np.inf if found is None else np.abs(found - weights).max()
    ours = our_bits()
    shown = f"{bits} bits, {LENGTH} private weights read to {error:.0e}"
    print(f"| masks of a pair | Flower {version('flwr')}: {shown} | secagg-v1: {ours} bits |")
    return 0 if bits == 28 and error < 1e-4 and ours == 256 else 1


if __name__ == "__main__":
    raise SystemExit(main())
