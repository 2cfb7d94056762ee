"""The public parameters of one attempt: ring, cohort bounds, assumptions and vector layout.

docs/protocol.md, "Encodings" and "The vector". Both sides hash the same bytes into the context,
so a coordinator cannot show different parameters to different agents.
"""

import math
import struct
from dataclasses import dataclass

from edgeveil.shared.secagg.primitives import solver
from edgeveil.shared.secagg.primitives.canonical import (
    Malformed,
    canon,
    f64,
    list_bytes,
    parse,
    parse_list,
    u8,
    u16,
    u32,
    uint,
)
from edgeveil.shared.secagg.primitives.errors import Code, Infeasible, Refused
from edgeveil.shared.secagg.primitives.solver import MILLION, Solution

__all__ = ["SIGNED", "UNSIGNED", "Infeasible", "Params", "Segment", "Solution", "solve"]

SIGNED, UNSIGNED = 0, 1
WEIGHT = "weight"  # the segment whose sum the server knows beforehand
CIPHERS = {1: "aes-256-ctr", 2: "chacha20"}
LANE_BITS = (16, 24, 32)
MAX_SEGMENTS = 16
MAX_LANES = 1 << 31
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def solve(
    n: int, gamma: float, delta: float, *, sigma: int = 80, eta: int = 20, c_min: int = 1
) -> Solution:
    """(k, t, h, Q) for n members of which the fractions gamma may be corrupt and delta be lost.

    Fractions count in parts per million, which is what both sides hash and compute with.

    Raises:
        ValueError: a fraction outside 0..1.
        Infeasible: no parameters exist; shard the cohort, or relax gamma and delta.
    """
    if not (0 <= gamma <= 1 and 0 <= delta <= 1):
        raise ValueError(f"gamma {gamma} and delta {delta} are fractions of the cohort, 0 to 1")
    parts = (round(MILLION * gamma), round(MILLION * delta))
    return solver.solve(n, *parts, sigma=sigma, eta=eta, c_min=c_min)


@dataclass(frozen=True, slots=True)
class Segment:
    """A named run of lanes. A lane's integer lies in ±bound (SIGNED) or 0..bound (UNSIGNED).

    `count` lanes hold count / limbs values; `step` is the worth of one unit.
    """

    name: str
    kind: int
    count: int
    limbs: int = 1
    bound: int = 1
    step: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= 40 or not set(self.name) <= _NAME or self.name[0] == "-":
            raise Malformed(f"segment name {self.name[:40]!r}: use up to 40 of [a-z0-9-]")
        if self.kind not in (SIGNED, UNSIGNED):
            raise Malformed(f"segment {self.name}: unknown kind {self.kind}")
        if not 1 <= self.limbs <= 255 or self.count < 1 or self.count % self.limbs:
            raise Malformed(f"segment {self.name}: {self.count} lanes in limbs of {self.limbs}")
        if self.limbs > 1 and self.kind == SIGNED:
            raise Malformed(f"segment {self.name}: only counts can be split into limbs")
        if self.count > MAX_LANES or not 1 <= self.bound < 1 << 32:
            raise Malformed(f"segment {self.name}: count or bound out of range")
        if not (math.isfinite(self.step) and self.step > 0):
            raise Malformed(f"segment {self.name}: the step must be a positive number")

    @property
    def values(self) -> int:
        return self.count // self.limbs

    def encode(self) -> bytes:
        return canon(
            "segment",
            self.name.encode("ascii"),
            u8(self.kind),
            u32(self.count),
            u8(self.limbs),
            u32(self.bound),
            f64(self.step),
        )

    @classmethod
    def decode(cls, data: bytes) -> "Segment":
        name, kind, count, limbs, bound, step = parse("segment", data, 6)
        if len(step) != 8 or not name.isascii():
            raise Malformed("a segment has an ASCII name and a step of 8 bytes")
        return cls(
            name.decode("ascii"),
            uint(kind, 1),
            uint(count, 4),
            uint(limbs, 1),
            uint(bound, 4),
            struct.unpack(">d", step)[0],
        )


@dataclass(frozen=True, slots=True)
class Params:
    """Everything the solver and the ring need. Construction refuses what no attempt can use."""

    prg: int
    bits: int
    n_min: int
    n_max: int
    gamma_ppm: int
    delta_ppm: int
    c_min: int
    sigma: int
    eta: int
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if self.prg not in CIPHERS or self.bits not in LANE_BITS:
            raise Malformed(f"unknown mask generator {self.prg} or lane width {self.bits}")
        if not 2 <= self.n_min <= self.n_max <= 65_535:
            raise Malformed(f"cohorts of {self.n_min} to {self.n_max} members are not possible")
        if not (0 <= self.gamma_ppm <= MILLION and 0 <= self.delta_ppm <= MILLION):
            raise Malformed("gamma and delta are fractions in parts per million")
        if not (0 <= self.c_min <= 65_535 and 0 <= self.sigma <= 255 and 0 <= self.eta <= 255):
            raise Malformed("c_min, sigma or eta out of range")
        names = [segment.name for segment in self.segments]
        if not 1 <= len(names) <= MAX_SEGMENTS or len(set(names)) != len(names):
            raise Malformed(f"1 to {MAX_SEGMENTS} segments with distinct names are needed")
        if self.lanes > MAX_LANES:
            raise Malformed(f"{self.lanes} lanes, at most {MAX_LANES}")

    @property
    def lanes(self) -> int:
        return sum(segment.count for segment in self.segments)

    @property
    def weight_max(self) -> int:
        """The most that one member may weigh; 1 where no segment says it."""
        return next((item.bound for item in self.segments if item.name == WEIGHT), 1)

    @property
    def cipher(self) -> str:
        return CIPHERS[self.prg]

    def solve(self, n: int) -> Solution:
        """The solution for n members; raises Infeasible."""
        return solver.solve(
            n, self.gamma_ppm, self.delta_ppm, sigma=self.sigma, eta=self.eta, c_min=self.c_min
        )

    def check_overflow(self) -> None:
        """Raise Refused(POLICY_VECTOR) if n_max vectors could leave the ring's decodable range."""
        for segment in self.segments:
            limit = (1 << (self.bits - 1 if segment.kind == SIGNED else self.bits)) - 1
            if self.n_max * segment.bound > limit:
                raise Refused(
                    Code.POLICY_VECTOR,
                    f"segment {segment.name}: {self.n_max} members times {segment.bound} "
                    f"overflow {self.bits}-bit lanes; use wider lanes or smaller cohorts",
                )

    def encode(self) -> bytes:
        return canon(
            "params",
            u8(self.prg),
            u8(self.bits),
            u32(self.n_min),
            u32(self.n_max),
            u32(self.gamma_ppm),
            u32(self.delta_ppm),
            u16(self.c_min),
            u8(self.sigma),
            u8(self.eta),
            list_bytes(segment.encode() for segment in self.segments),
        )

    @classmethod
    def decode(cls, data: bytes) -> "Params":
        """Parse; raises Malformed for anything but the canonical spelling of usable parameters."""
        fields = parse("params", data, 10)
        sizes = (1, 1, 4, 4, 4, 4, 2, 1, 1)
        numbers = [uint(field, size) for field, size in zip(fields[:9], sizes, strict=True)]
        prg, bits, n_min, n_max, gamma_ppm, delta_ppm, c_min, sigma, eta = numbers
        return cls(
            prg=prg,
            bits=bits,
            n_min=n_min,
            n_max=n_max,
            gamma_ppm=gamma_ppm,
            delta_ppm=delta_ppm,
            c_min=c_min,
            sigma=sigma,
            eta=eta,
            segments=tuple(
                Segment.decode(item) for item in parse_list(fields[9], most=MAX_SEGMENTS)
            ),
        )
