"""A sum without masks behind the interface of the round machine: weights, vectors, and that they are in (pure).

The devices' side of it is agent.simulation.plain. Everything but the masks is as in shared.secagg: the same
integers modulo the same ring, the same checks of length and range, the same least cohort.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np

from edgeveil.coordinator.machine.attempt import Collecting, RoundMachine
from edgeveil.shared.secagg.agreement.result import Result, check_sum
from edgeveil.shared.secagg.primitives import ring
from edgeveil.shared.secagg.primitives.canonical import Malformed, uint
from edgeveil.shared.secagg.primitives.errors import Aborted
from edgeveil.shared.secagg.server.stages import Bulk, ServerSetup, Stage, too_small
from edgeveil.shared.wire import messages


class CollectWeights(Stage):
    """What each device says it weighs."""

    def __init__(self, setup: ServerSetup) -> None:
        super().__init__(setup, setup.members)
        self._weights: dict[bytes, int] = {}

    def close(self) -> "CollectVectors":
        self._finish()
        return CollectVectors(self._setup, self._weights)

    def _take(self, agent: bytes, body: bytes, bulk: Bulk | None) -> None:
        self._without_bulk(bulk)
        weight = uint(body, 4)
        if not 1 <= weight <= self._setup.params.weight_max:
            raise Malformed(f"a weight of {weight}")
        self._weights[agent] = weight

    def _problem(self) -> Aborted | None:
        return too_small(frozenset(self._weights), "U1", self._setup.params)


class CollectVectors(Stage):
    """The vectors themselves; each is added as it comes and forgotten."""

    def __init__(self, setup: ServerSetup, weights: Mapping[bytes, int]) -> None:
        super().__init__(setup, weights)
        self._weights = weights
        self._total = ring.zeros(setup.params.lanes, setup.params.bits)
        self._in: set[bytes] = set()

    def requests(self) -> Mapping[bytes, bytes]:
        return dict.fromkeys(self.waiting, b"")

    def close(self) -> "CollectEnds":
        self._finish()
        return CollectEnds(self._setup, self._result(), self._in)

    def _take(self, agent: bytes, body: bytes, bulk: Bulk | None) -> None:
        params = self._setup.params
        if body or bulk is None:
            raise Malformed("a vector and nothing else is due")
        np.add(self._total, ring.unpack(bulk, params.lanes, params.bits), out=self._total)
        self._in.add(agent)

    def _problem(self) -> Aborted | None:
        return too_small(frozenset(self._in), "U3", self._setup.params)

    def _result(self) -> Result:
        params, there = self._setup.params, tuple(sorted(self._in))
        if params.bits == 24:
            np.bitwise_and(self._total, 0xFFFFFF, out=self._total)
        lanes = ring.decode_sum(self._total, params)
        check_sum(lanes, params, [self._weights[agent] for agent in there])
        asked = tuple(sorted(self._weights))
        hashes = [_hash(self._setup.ctx, *ids) for ids in (asked, there)]
        packed = ring.pack(self._total, params.bits)
        return Result(
            params=params,
            lanes=lanes,
            u1=asked,
            u2=asked,
            u3=there,
            u1_hash=hashes[0],
            u2_hash=hashes[0],
            u3_hash=hashes[1],
            result_hash=_hash(self._setup.ctx, *hashes, packed),
            liars=(),
            weights=dict(self._weights),
        )


class CollectEnds(Stage):
    """That each device has closed the attempt in its ledger; the sum stands whoever is lost here."""

    def __init__(self, setup: ServerSetup, result: Result, there: Iterable[bytes]) -> None:
        super().__init__(setup, there)
        self._result = result

    def requests(self) -> Mapping[bytes, bytes]:
        return dict.fromkeys(self.waiting, b"")

    def close(self) -> Result:
        self._finish()
        return self._result

    def _take(self, agent: bytes, body: bytes, bulk: Bulk | None) -> None:
        del agent
        self._without_bulk(bulk)
        if body:
            raise Malformed("an empty reply is due")

    def _problem(self) -> Aborted | None:
        return None


class SumMachine(RoundMachine):
    """Three exchanges in place of five."""

    __slots__ = ()
    following: ClassVar[Mapping[messages.Stage, messages.Stage]] = {
        messages.Stage.ROUND: messages.Stage.MASKED,
        messages.Stage.MASKED: messages.Stage.UNMASK,
    }

    def _first(self) -> Collecting:
        return CollectWeights(self.setup)


def _hash(*parts: bytes | memoryview) -> bytes:
    """Nobody signs it, so it needs no label of the protocol; ids and hashes have fixed lengths."""
    return hashlib.sha256(b"".join(parts)).digest()
