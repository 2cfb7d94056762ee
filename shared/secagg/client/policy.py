"""What a device insists on before it takes part: floors the coordinator's parameters must meet.

docs/protocol.md, "Parameters", "Agent policy". The device checks the lane overflow itself, from the
parameters it is about to hash into the context.
"""

from collections.abc import Collection
from dataclasses import dataclass

from edgeveil.shared.secagg.primitives.errors import Code, Refused
from edgeveil.shared.secagg.primitives.parameters import LANE_BITS, SIGNED, UNSIGNED, WEIGHT, Params

SMALLEST_COHORT = 3  # with two, each learns the other's vector from the sum


def small_cohort_notices(least: int, c_min: int) -> tuple[str, ...]:
    """What both sides say in plain words when a cohort may be as small as `least`."""
    if least == 2:
        return (
            "cohorts of two are allowed: each agent computes the other's update from the sum",
            "a cohort of two tolerates no loss: if either agent is lost, the attempt aborts",
        )
    if least == SMALLEST_COHORT:
        honest = SMALLEST_COHORT - min(c_min, 2)
        return (
            f"cohorts of three are allowed: an update hides among {honest} honest ones, itself included",
            "a cohort of three tolerates no loss: if one agent is lost, the attempt aborts",
        )
    if least == SMALLEST_COHORT + 1 and c_min:
        return (
            f"a cohort of four with c_min = {c_min} tolerates no loss after its adverts; five do",
        )
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPolicy:
    """Minimums (n_min, gamma_ppm, c_min, sigma), a maximum (n_max) and the allowed rings and ciphers.

    `allow_two` is the owner's explicit consent to a cohort of two, which hides nothing from the peer.
    """

    n_min: int = 3
    n_max: int = 10_000
    gamma_ppm: int = 100_000
    c_min: int = 1
    sigma: int = 80
    bits: Collection[int] = LANE_BITS
    prg: Collection[int] = (1, 2)
    allow_two: bool = False

    def check(self, params: Params) -> None:
        """Raise Refused: POLICY_SECAGG for the cohort rules, POLICY_VECTOR for the layout."""
        least = max(self.n_min, 2 if self.allow_two else SMALLEST_COHORT)
        rules = (
            ("n_min", params.n_min, params.n_min >= least, f"at least {least}"),
            ("n_max", params.n_max, params.n_max <= self.n_max, f"at most {self.n_max}"),
            (
                "gamma_ppm",
                params.gamma_ppm,
                params.gamma_ppm >= self.gamma_ppm,
                f"at least {self.gamma_ppm}",
            ),
            ("c_min", params.c_min, params.c_min >= self.c_min, f"at least {self.c_min}"),
            ("sigma", params.sigma, params.sigma >= self.sigma, f"at least {self.sigma}"),
            ("bits", params.bits, params.bits in self.bits, f"one of {sorted(self.bits)}"),
            ("prg", params.prg, params.prg in self.prg, f"one of {sorted(self.prg)}"),
        )
        for name, offered, admitted, rule in rules:
            if not admitted:
                raise Refused(
                    Code.POLICY_SECAGG, f"secagg.{name} is {offered}; this device wants {rule}"
                )
        _check_layout(params)
        params.check_overflow()


def _check_layout(params: Params) -> None:
    """Order of segments: one unsigned weight lane, optional metrics, the signed parameters last."""
    first, last = params.segments[0], params.segments[-1]
    weight = first.name == WEIGHT and first.kind == UNSIGNED and first.count == 1
    if len(params.segments) < 2 or not weight or last.kind != SIGNED:
        raise Refused(
            Code.POLICY_VECTOR, "a vector is one weight lane, optional metrics, then parameters"
        )
