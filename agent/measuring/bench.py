"""`agent bench`: a model package on this device, by each execution provider that its runtime has."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgeveil.agent.measuring.latency import CPU, Asked, Latency, measured
from edgeveil.agent.measuring.verdict import for_camera
from edgeveil.shared.base.errors import ConfigError, ModelError
from edgeveil.shared.models import graph, known_answer
from edgeveil.shared.models.package import Package

# Of what onnxruntime offers, those that compute on the device itself; others send the records away.
LOCAL = (
    CPU, "XnnpackExecutionProvider", "OpenVINOExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider",
    "CoreMLExecutionProvider", "DnnlExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider",
    "QNNExecutionProvider", "NnapiExecutionProvider", "ACLExecutionProvider", "ArmNNExecutionProvider",
)  # fmt: skip
SUFFIX = "ExecutionProvider"


@dataclass(frozen=True, slots=True)
class Benched:
    """`rows`: what was measured, or why not, by provider."""

    asked: Asked
    rows: tuple[tuple[str, Latency | str], ...]
    fps: float | None

    @property
    def best(self) -> Latency:
        """The provider that answers soonest; raises ModelError if none could be measured."""
        found = [row for _, row in self.rows if isinstance(row, Latency)]
        if not found:
            raise ModelError(str(self.rows[0][1]))
        return min(found, key=lambda each: each.p99_ms)

    @property
    def verdict(self) -> tuple[bool, str] | None:
        return None if self.fps is None else for_camera(self.best.p99_ms, self.fps)

    def as_json(self) -> dict[str, Any]:
        told = self.verdict
        return {
            "threads": self.asked.threads,
            "batch": self.asked.batch,
            "providers": {
                name: {"error": row} if isinstance(row, str) else {**asdict(row), "memory_bytes": row.memory_bytes}
                for name, row in self.rows
            },
            "fps": None if told is None else {"wanted": self.fps, "holds": told[0], "sentence": told[1]},
        }  # fmt: skip


def providers(named: Sequence[str]) -> tuple[str, ...]:
    """Those of this installation that compute here, or those of `named`, as "cpu" or "CUDA"; raises ConfigError."""
    import onnxruntime  # noqa: PLC0415 - heavy, and only for whoever measures

    here = [each for each in LOCAL if each in onnxruntime.get_available_providers()]
    if not named:
        return tuple(here)
    known = {each.removesuffix(SUFFIX).lower(): each for each in here}
    unknown = [name for name in named if name.removesuffix(SUFFIX).lower() not in known]
    if unknown:
        raise ConfigError(
            f"--provider {unknown[0]}: this onnxruntime has {', '.join(sorted(known))}"
        )
    return tuple(known[name.removesuffix(SUFFIX).lower()] for name in named)


def bench(
    package: Package, asked: Asked, named: Sequence[str] = (), fps: float | None = None
) -> Benched:
    """On records that everybody makes alike: no record of the device is looked at.

    Raises:
        ConfigError: a provider that is not here, or --fps with more than one record a call.
        ModelError: the graph is none that is run here, or no provider runs it.
    """  # fmt: skip
    if fps is not None and asked.batch != 1:
        raise ConfigError("--fps: a camera gives one picture at a time; leave --batch out")
    try:
        graph.check(package.model, graph.Wanted.of(package.manifest))
    except ValueError as error:
        raise ModelError(f"this model package cannot be used: {error}") from error
    records = known_answer.records(package.manifest.input)
    rows: list[tuple[str, Latency | str]] = []
    for name in providers(named):
        try:
            rows.append((name, measured(package.model, records, replace(asked, provider=name))))
        except ModelError as error:
            rows.append((name, error.message))
    found = Benched(asked, tuple(rows), fps)
    _ = found.best
    return found


def in_short(package: Package) -> str:
    """How fast a checked package is here, timed for a second; raises ModelError."""
    asked = Asked(warm_up=3, seconds=1.0)
    found = measured(package.model, known_answer.records(package.manifest.input), asked)
    return (
        f"loads in {found.load_ms:.0f} ms, then {found.p50_ms:.3g} ms a record ({found.p99_ms:.3g} ms at p99, one "
        f"thread), {found.memory_bytes / 1e6:.0f} MB"
    )
