"""What Flower's own secure aggregation costs for the same cohort and vector, from its own functions.

Measured: key agreement, shares and masks of a client; on the server one recovery of each kind and one
mask, times their number. Flower's masks are not secure (the seed of every mask is folded to 32 bits,
docs/design.md), so this compares costs and nothing else.
"""

import os
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import (
    encrypt,
    generate_shared_key,
)
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    parameters_addition,
    parameters_mod,
)
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    bytes_to_public_key,
    generate_key_pairs,
    private_key_to_bytes,
    public_key_to_bytes,
)

MODULUS = 1 << 32
SAMPLE = 10  # masks, agreements and seals actually made; costs are linear in their number


def flower_costs(n: int, k: int, t: int, d: int, lost: int) -> dict[str, float]:
    """CPU of one client (masks and share generation) and of the server, and a client's peak memory."""
    first, second = generate_key_pairs()
    secret, public = private_key_to_bytes(first), public_key_to_bytes(second)
    seed = os.urandom(32)
    vector = [np.zeros(d, np.int64)]
    state = {"vector": vector}

    def agree() -> bytes:
        return generate_shared_key(bytes_to_private_key(secret), bytes_to_public_key(public))

    def add_mask() -> None:
        made = pseudo_rand_gen(seed, MODULUS, [(d,)])
        state["vector"] = parameters_addition(state["vector"], made)

    masks = (k + 1) * _each(add_mask, min(SAMPLE, k + 1))
    masks += _each(lambda: parameters_mod(vector, MODULUS), 1)
    agreements = 2 * k * _each(agree, SAMPLE)
    shared = agree()
    seals = k * _each(lambda: encrypt(shared, bytes(400)), SAMPLE)
    shares = _each(lambda: create_shares(seed, t, k + 1), 1)
    shares += _each(lambda: create_shares(secret, t, k + 1), 1)
    of_seed, of_secret = create_shares(seed, t, k + 1)[:t], create_shares(secret, t, k + 1)[:t]
    recovery = (n - lost) * _each(lambda: combine_shares(of_seed), 2)
    recovery += lost * _each(lambda: combine_shares(of_secret), 1)
    alive = round(k * (n - lost) / n)
    removal = (n - lost + lost * alive) * _each(add_mask, 3)
    return {
        "flower_client_ms": 1000 * (masks + agreements + seals + shares),
        "flower_masks_ms": 1000 * masks,
        "flower_shares_ms": 1000 * shares,
        "flower_server_s": recovery + removal,
        "flower_peak_bytes": _peak(add_mask),
        "flower_upload_ratio": 8 / 4,
    }


def _each(call: Callable[[], object], count: int) -> float:
    """CPU seconds of one call, averaged over `count`."""
    started = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - started) / count


def _peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
