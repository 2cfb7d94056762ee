"""`agent budget plan`: what a schedule costs, which noise a target needs, how many rounds are left."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import MOST_EPSILON, Policy
from edgeveil.agent.ledger.budget import ledger_of
from edgeveil.agent.ledger.prv import epsilon_prv
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import read_text
from edgeveil.shared.privacy.filter import cap, choose_order, noise_multiplier_for, steps_left
from edgeveil.shared.privacy.rdp import Segment, check_segment, epsilon, rdp_step, rdp_total
from edgeveil.shared.privacy.report.two_figures import TwoFigures
from edgeveil.shared.privacy.shared_noise import share_for, shares
from edgeveil.shared.privacy.unlimited import UNLIMITED
from edgeveil.shared.privacy.whole_updates import absent, devices_needed

FEWEST_HONEST, MOST_HONEST = 2, 65_535  # as plans take them
SCARCE = 0.2  # of the budget; below, the owner is warned


@dataclass(frozen=True)
class Start:
    """Where a plan begins: what is spent, and the budget around it (None: only the cost is asked)."""

    history: tuple[Segment, ...]
    delta: float
    epsilon_max: float | None
    order: int | None  # of the filter
    limited: bool = (
        True  # false: rounds without noise are in the ledger, which no figure here holds
    )

    sums: "Start | None" = (
        None  # the same towards whoever sees only sums, where that is not the same
    )

    @property
    def room(self) -> float:
        """Divergence at the filter's order that the whole budget is worth."""
        if self.epsilon_max is None or self.order is None:
            raise ConfigError("give --epsilon or --ledger: without a budget there is no target")
        return cap(self.epsilon_max, self.delta, self.order)


def start_from(history: Path | None, epsilon_max: float | None, delta: float) -> Start:
    """A start from flags alone.

    Raises:
        ConfigError: the history is not a JSON list of [σ, q, steps], or the budget is impossible.
    """
    spent = _read_history(history) if history is not None else ()
    try:
        if not 0 < delta < 1:
            raise ValueError(f"--delta {delta} is outside (0, 1)")
        if epsilon_max is not None and not 0 < epsilon_max <= MOST_EPSILON:
            raise ValueError(f"--epsilon {epsilon_max:g} is outside (0, {MOST_EPSILON:g}]")
        order = None if epsilon_max is None else choose_order(epsilon_max, delta)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return Start(spent, delta, epsilon_max, order)


def start_from_ledger(home: Path, dataset: str | None) -> Start:
    """A start from this device's ledger, or from its policy when no round was charged yet."""
    _, state = ledger_of(home, dataset)
    if state is not None:
        limited = not state.unlimited
        allowed = state.limits.epsilon_sum_max
        own = allowed and Start(state.sum_history, state.delta, allowed, state.sum_alpha, limited)
        start = (state.history, state.delta, state.epsilon_max, state.alpha, limited)
        return Start(*start, sums=own or None)
    policy = Policy.load(AgentHome(home).policy_path)
    order = choose_order(policy.epsilon_max, policy.delta, policy.planned)
    sums = None
    if policy.shared_noise is not None:
        most = policy.shared_noise.epsilon_sum_max
        sums = Start((), policy.delta, most, choose_order(most, policy.delta))
    return Start((), policy.delta, policy.epsilon_max, order, sums=sums)


def answer(
    start: Start,
    *,
    noise: float | None,
    rate: float,
    rounds: int,
    prv: bool,
    steps: int | None = None,
    shared: bool = False,
    honest: int | None = None,
    parameters: int | None = None,
) -> dict[str, Any]:
    """The whole answer of the command: the cost, and with a budget the noise or the rounds left.

    `parameters`: of a plan with `unit = "device"`, see _of_devices().

    Raises:
        ConfigError: impossible values, no budget to fit into, it is spent, or something is missing.
    """
    if parameters is not None:
        if steps not in {None, 1} or rate != 1:
            raise ConfigError(
                "--parameters is about noise once a round on whole updates, whatever the local steps: leave "
                "--steps and --rate out"
            )
        found = answer(
            start,
            noise=noise,
            rate=1.0,
            rounds=rounds,
            prv=prv,
            steps=1,
            shared=shared,
            honest=honest,
        )
        given = found.get("noise_multiplier", noise or 0.0)
        sigma = found.get("noise_multiplier_share", given)
        more = _of_devices(start, sigma, rounds, parameters=parameters, honest=honest or 1)
        return {**found, **more}
    if shared != (honest is not None):
        raise ConfigError("--shared and --honest go together: --shared --honest 6")
    if honest is not None:
        if steps not in {None, 1}:
            raise ConfigError(
                f"--shared with --steps {steps}: noise in shares is proven for one step a round; "
                "use more rounds"
            )
        return answer_shared(start, noise=noise, rate=rate, rounds=rounds, honest=honest)
    if steps is None:
        raise ConfigError("give --steps: how many steps one round has")
    if noise is not None:
        found = cost(start, Segment(noise, rate, steps * rounds), prv=prv)
        if start.epsilon_max is not None:
            found |= rounds_left(start, noise=noise, rate=rate, steps=steps)
        return found
    sigma = noise_for(start, rate=rate, steps=steps * rounds)
    return {
        "noise_multiplier": sigma,
        **cost(start, Segment(sigma, rate, steps * rounds), prv=prv),
        **rounds_left(start, noise=sigma, rate=rate, steps=steps),
    }


def answer_shared(
    start: Start, *, noise: float | None, rate: float, rounds: int, honest: int
) -> dict[str, Any]:
    """Noise in shares: σ of the sum and of one share, ε towards who sees sums and towards who sees this share alone.

    A ledger whose owner allows it, or will once it is opened, starts with both of its columns and has two limits,
    epsilon_sum_max and epsilon_max. `noise` is σ of one share; without it, the least that fits beside what is spent:
    its sum, and where there are two limits each share too. Both ε hold for one step a round, at h = `honest` shares
    in every sum (docs/privacy.md, "Two figures").

    Raises:
        ConfigError: impossible values, no budget to fit into, or it is spent.
    """
    if not FEWEST_HONEST <= honest <= MOST_HONEST:
        raise ConfigError(
            f"--honest {honest}: write {FEWEST_HONEST} to {MOST_HONEST}, as plans do; alone, leave --shared out"
        )
    sums = start.sums or start
    share = _share(start, sums, rate, rounds, honest) if noise is None else noise
    _check(Segment(share, rate, rounds))
    summed, alone = (part._replace(steps=rounds) for part in shares(share, honest, rate))
    return {
        "noise_multiplier_sum": share * math.sqrt(honest),
        "noise_multiplier_share": share,
        "epsilon_sum": epsilon((*sums.history, summed), start.delta)[0],
        "epsilon_alone": epsilon((*start.history, alone), start.delta)[0],
    }


def _share(start: Start, sums: Start, rate: float, rounds: int, honest: int) -> float:
    """The larger need of both."""
    share = share_for(noise_for(sums, rate=rate, steps=rounds), honest)
    if sums is start:
        return share
    return max(share, share_for(noise_for(start, rate=rate, steps=rounds), 1))


def _of_devices(
    start: Start, sigma: float, rounds: int, *, parameters: int, honest: int
) -> dict[str, Any]:
    """What `unit = "device"` adds to an answer for one step a round: from how many devices in a sum on it is worth
    anything, and ε of such rounds alone, of their sums where noise is in shares, against no records at all
    (docs/privacy.md, "The whole device"). `sigma` is that of what one device adds.
    """
    seen = absent(sigma * math.sqrt(honest))
    return {
        "devices_needed": max(devices_needed(sigma, parameters, rounds), honest),
        "epsilon_absent": epsilon([Segment(seen, 1.0, rounds)], start.delta)[0],
    }


def both(start: Start, found: dict[str, Any], honest: int) -> TwoFigures:
    """An answer with --shared, to be shown; without a policy only what sums show has a limit."""
    sums = (start.sums or start).epsilon_max or UNLIMITED
    alone = (start.epsilon_max if start.sums else None) or UNLIMITED
    return TwoFigures(found["epsilon_sum"], sums, found["epsilon_alone"], alone, honest)


def cost(start: Start, segment: Segment, *, prv: bool = True) -> dict[str, Any]:
    """ε of what is spent plus `segment`: {"epsilon_rdp", "alpha", "epsilon_prv"}.

    `alpha` is the order at which the minimum over 2..256 lies.
    """
    _check(segment)
    history = (*start.history, segment)
    found, order = epsilon(history, start.delta)
    numeric = epsilon_prv(history, start.delta).epsilon if prv else None
    return {"epsilon_rdp": found, "alpha": order, "epsilon_prv": numeric}


def noise_for(start: Start, *, rate: float, steps: int) -> float:
    """The least σ for `steps` more steps in all, at the order the filter enforces.

    Raises:
        ConfigError: the budget is spent.
    """
    _check(Segment(1.0, rate, steps))
    _ = start.room
    try:
        return noise_multiplier_for(
            start.epsilon_max or 0.0, start.delta, steps, rate, start.history, order=start.order
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def rounds_left(start: Start, *, noise: float, rate: float, steps: int) -> dict[str, Any]:
    """How many rounds of `steps` steps the filter still admits, and the share of the budget left."""
    _check(Segment(noise, rate, steps))
    room = start.room
    order = start.order or 2
    spent = rdp_total(start.history, order)
    left = steps_left(spent, rdp_step(noise, rate, order), room) // steps
    return {
        "epsilon_limit": start.epsilon_max,
        "filter_order": order,
        "rounds_left": left,
        "share_left": max(0.0, 1 - spent / room) if room > 0 else 0.0,
    }


def _check(segment: Segment) -> None:
    try:
        check_segment(segment)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _read_history(path: Path) -> tuple[Segment, ...]:
    try:
        raw = json.loads(read_text(path))
        if not isinstance(raw, list):
            raise TypeError("not a list")
        return tuple(_segment(entry) for entry in raw)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{path}: must be a JSON list of [noise_multiplier, sample_rate, steps] ({error})"
        ) from error


def _segment(entry: Sequence[Any]) -> Segment:
    sigma, rate, steps = entry
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps {steps!r} is not a whole number")
    segment = Segment(float(sigma), float(rate), steps)
    check_segment(segment)
    return segment
