"""Variants of one model, each measured like the model itself, and which of them is kept."""

import math
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.compression import quantizing
from edgeveil.agent.compression.graphs import folded, plain
from edgeveil.agent.compression.keeping import packed
from edgeveil.agent.compression.sparsity import sparse
from edgeveil.agent.inference.evaluation import Evaluated, FoundBoxes, calibration_records, evaluate
from edgeveil.agent.inference.runtime import made_ready
from edgeveil.agent.measuring.latency import Asked, Latency, measured
from edgeveil.shared.base.errors import DataError, ModelError
from edgeveil.shared.models import known_answer
from edgeveil.shared.models.package import Package, parse_package
from edgeveil.shared.wire.identity import Identity

FASTER = 0.9  # of the time before, by the clock and of the processor: less is noise
SMALLER = 0.98  # of the bytes before
LEAST, VALUES = 16, 1 << 26  # of a sample: records, and values in all (256 MiB)
AS_FAST = 1.1  # of the time before, by the clock and of the processor: more is slower


@dataclass(frozen=True, slots=True)
class Ask:
    """What is tried. `tolerance`: by how many points of 100 quality may fall; shares are 0 to 1."""

    dynamic: bool = True
    static: bool = False
    graph: bool = False
    sparse: float = 0.0
    tolerance: float = 1.0
    latency: Asked = field(default_factory=Asked)


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A graph to quantise. `made`: how it was made, "" of the model itself; `achieved`: the share of the weights that
    is gone or zero, None where nothing was pruned; `calibrated`: by records of this device.
    """

    made: str
    graph: bytes
    achieved: float | None = None
    asked: float | None = None
    calibrated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """`quality` 0 to 1; `verdict`: why it is kept or not. Sizes are of the graph, with its weights, in bytes."""

    name: str
    graph: bytes
    calibrated: bool
    asked: float | None
    achieved: float | None
    quality: float
    latency: Latency
    accepted: bool = False
    verdict: str = ""
    file: bytes = b""  # the signed package

    @property
    def size(self) -> int:
        return len(self.graph)

    @property
    def compressed(self) -> int:
        """Bytes that a transfer would take, by deflate."""
        return len(zlib.compress(self.graph, 6))


@dataclass(frozen=True, slots=True, eq=False)
class Optimized:
    """`failed`: what could not be made, and why; `kept` is None where the model stays as it is."""

    package: Package
    metric: str
    records: int
    before: Variant
    tried: tuple[Variant, ...]
    failed: tuple[tuple[str, str], ...]
    kept: Variant | None


def optimize(
    package: Package,
    data: Path,
    ask: Ask,
    signer: Callable[[], Identity],
    *,
    more: Sequence[Base] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Optimized:
    """`more`: graphs pruned elsewhere; `signer` is asked once the model itself was measured.

    Nothing else is written.

    Raises:
        DataError: no labelled records that the model takes: nothing can be kept unmeasured.
        ModelError: the model itself cannot be run or measured.
    """
    say("measuring the model itself")
    metric, records, quality = _quality(package, data)
    latency = _latency(package.model, package, ask)
    before = Variant("as it came", package.model, False, None, None, quality, latency, True)
    key = signer()
    tried: list[Variant] = []
    failed: list[tuple[str, str]] = []
    for base, calibrated, make in _plans(package, data, ask, more):
        say(f"trying {base.made}")
        try:
            graph = make()
            made = packed(package, graph, base.made, calibrated=calibrated, signer=key)
            found = parse_package(made)
            _, _, quality = _quality(found, data)
            latency = _latency(graph, package, ask)
        except (ValueError, ModelError, RuntimeError) as error:
            failed.append((base.made, (str(error).splitlines() or [type(error).__name__])[0][:300]))
            continue
        pruned = (base.asked, base.achieved)
        one = Variant(base.made, graph, calibrated, *pruned, quality, latency, file=made)
        accepted, why = judged(before, one, ask.tolerance)
        tried.append(replace(one, accepted=accepted, verdict=why))
    return Optimized(package, metric, records, before, tuple(tried), tuple(failed), chosen(before, tried))  # fmt: skip


def chosen(before: Variant, tried: Sequence[Variant]) -> Variant | None:
    """The smallest accepted one that is about as fast as `before`; where all are slower, the smallest of all."""
    good = [each for each in tried if each.accepted]
    as_fast = [each for each in good if _takes_at_most(AS_FAST, before, each)]
    return min(
        as_fast or good, key=lambda each: each.size, default=None
    )  # of equal ones the simplest


def _takes_at_most(share: float, before: Variant, one: Variant) -> bool:
    now, then = one.latency, before.latency
    return now.p50_ms <= share * then.p50_ms and now.cpu_p50_ms <= share * then.cpu_p50_ms


def judged(before: Variant, one: Variant, tolerance: float) -> tuple[bool, str]:
    """Whether it may be kept, and why."""
    lost = 100 * (before.quality - one.quality)
    if not lost <= tolerance + 1e-9:
        return (
            False,
            f"quality falls by {lost:.{2 if round(lost, 2) != tolerance else 4}f} points, at most {tolerance:g} are allowed",
        )
    smaller = one.size <= SMALLER * before.size
    faster = _takes_at_most(FASTER, before, one)
    if smaller or faster:
        what = " and ".join(
            word for word, holds in (("smaller", smaller), ("faster", faster)) if holds
        )
        return True, what
    if one.compressed <= SMALLER * before.compressed:
        return False, "smaller only when compressed: no gain on this device"
    return False, "neither smaller nor faster"


Plan = tuple[Base, bool, Callable[[], bytes]]


def _plans(package: Package, data: Path, ask: Ask, more: Sequence[Base]) -> list[Plan]:
    """What is tried, in order: each pruned graph as it is and in 8 bits, the model itself in 8 bits."""
    bases = [Base("", package.model), *more]
    if ask.sparse:
        graph, achieved = sparse(package.model, ask.sparse)
        bases.append(Base(f"{ask.sparse:.0%} sparse", graph, achieved, ask.sparse))
    plans: list[Plan] = []
    if ask.graph:
        plans.append((Base("graph folded", package.model), False, partial(_folded, package.model)))
    for base in bases:
        if base.made:
            plans.append((base, base.calibrated, partial(_as_it_is, base.graph)))
        if ask.dynamic:
            named = replace(base, made=_named(base, "int8 dynamic"))
            plans.append((named, base.calibrated, partial(quantizing.dynamic, base.graph)))
        if ask.static:
            named = replace(base, made=_named(base, "int8 static"))
            plans.append((named, True, partial(_static, package, data, base.graph)))
    return plans


def _as_it_is(graph: bytes) -> bytes:
    return graph


def _named(base: Base, kind: str) -> str:
    return f"{base.made}, {kind}" if base.made else kind


def _static(package: Package, data: Path, graph: bytes) -> bytes:
    return quantizing.static(graph, sample(package, data, quantizing.RECORDS))


def sample(package: Package, data: Path, most: int, values: int = VALUES) -> NDArray[np.float32]:
    """Some of these records (n, *shape), as the graph takes them: at most so many and about so many values.

    Raises:
        DataError: there is none.
    """
    most = min(most, max(LEAST, values // math.prod(package.manifest.input.shape)))
    return calibration_records(made_ready(package, threads=1), data, most)


def _folded(graph: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return plain(folded(graph, folder))


def _quality(package: Package, data: Path) -> tuple[str, int, float]:
    """Name of the figure, records, and its value from 0 to 1."""
    try:
        told = evaluate(made_ready(package, threads=1), data, quiet=True)
    except DataError as error:
        raise DataError(f"{error.message}; no variant is kept without a look at its quality") from error  # fmt: skip
    name, value = told.summary if isinstance(told, Evaluated | FoundBoxes) else ("share right", told.right)  # fmt: skip
    return name, int(told.as_json()["records"]), value


def _latency(graph: bytes, package: Package, ask: Ask) -> Latency:
    return measured(graph, known_answer.records(package.manifest.input), ask.latency)
