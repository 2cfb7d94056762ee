"""Small values of secure aggregation, and how they are spelled, for tests of pure functions."""

import numpy as np
from secagg_bench import CTX, identities, params

from edgeveil.shared.secagg.agreement.cohort import Cohort
from edgeveil.shared.secagg.agreement.result import make_result
from edgeveil.shared.secagg.primitives import canonical
from edgeveil.shared.secagg.primitives.parameters import SIGNED, Segment

IDS = [one.id for one in identities(5)]
Z = bytes(32)


def listed(*items: bytes) -> bytes:
    return canonical.list_bytes(items)


def body(label: str, *fields: bytes) -> bytes:
    return canonical.canon(label, *fields)


def a_cohort(n: int = 5) -> Cohort:
    return Cohort(CTX, [(one, Z) for one in IDS[:n]], params(n))


def a_segment(**changes: object) -> Segment:
    good = {"name": "params", "kind": SIGNED, "count": 4, "limbs": 1, "bound": 7, "step": 0.5}
    return Segment(**(good | changes))


def summed(*lanes: int) -> None:
    sets = {"u2": frozenset(IDS), "u3": frozenset(IDS)}
    total = np.array(lanes, np.int64).astype(np.uint16)
    make_result(
        total,
        params(5, lanes=2),
        a_cohort(),
        **sets,
        weights=dict.fromkeys(IDS, 1),
        liars=frozenset(),
    )
