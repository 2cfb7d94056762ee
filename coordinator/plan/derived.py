"""What follows from a plan: σ, ring and quantiser, from public numbers only (docs/design.md)."""

import math

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.privacy.counting import affordable_scale, charged
from edgeveil.shared.privacy.filter import cap, choose_order, noise_multiplier_for
from edgeveil.shared.privacy.shared_noise import SLACK, share_for
from edgeveil.shared.privacy.whole_updates import APART, devices_needed, noise_length
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, WEIGHT, Params, Segment
from edgeveil.shared.vector.quantization import PARAMS, plan_segments
from edgeveil.shared.wire.plan import LEAST_NOISE_BITS, MOST_NOISE_BITS, TrainingPlan

NOISE_REACH = 6  # standard deviations: of 10^8 values, less than one lies beyond
ROUNDING = 1e-3  # of the bound of an update without noise: the length of all rounding together
ADAM_REACH = (1 - 0.9) / math.sqrt(1 - 0.999)  # at torch's default moments


SHARE_REACH = 9  # the same of a share: what agents keep free for it
LARGEST = (1 << 31) - 1  # in a signed lane of 32 bits
MOST_ROUNDING = 20  # of the noise in shares at most so small a part is spent on rounding
PRG = {"aes-256-ctr": 1, "chacha20": 2}


def training_plan(plan: Plan) -> TrainingPlan:
    """The proposal every agent gets, with the noise that keeps it within its epsilon if it has one."""
    training, honest = plan.training, plan.privacy.honest or 0
    epsilon = training.epsilon
    noise = 0.0 if epsilon is None else _noise_multiplier(plan, epsilon)
    return TrainingPlan(
        **training.training_keys(),
        noise_multiplier=noise,
        honest=honest,
        noise_bits=_noise_bits(plan, noise) if honest or training.whole else 0,
        delta=0.0 if epsilon is None else training.delta,
        options=plan.task.options,
        control_variates=plan.server.strategy == "scaffold",
        rounds=plan.rounds.count,
        n_ref_min=plan.secagg.n_ref_min,
    )


def _noise_multiplier(plan: Plan, epsilon: float) -> float:
    """The least σ that keeps count + spare rounds within `epsilon`, and their sums within theirs.

    At the order that a ledger opened without a schedule enforces, and beside the count that a device
    without a declared size has charged, so that agents find it sufficient.
    """
    training, rounds, shared = plan.training, plan.rounds, plan.privacy
    steps = training.charged_steps * (rounds.count + rounds.spare)
    order = choose_order(epsilon, training.delta)
    counted = charged(affordable_scale(cap(epsilon, training.delta, order), order))

    def least(limit: float) -> float:
        at = choose_order(limit, training.delta)
        given = (limit, training.delta, steps, training.sample_rate, [counted])
        return noise_multiplier_for(*given, order=at)

    exact = least(epsilon)
    if shared.honest is not None and shared.epsilon_sum is not None:
        exact = max(exact * (1 + 2 * SLACK), share_for(least(shared.epsilon_sum), shared.honest))
    return math.ceil(exact * 1e4) / 1e4


def _noise_bits(plan: Plan, noise: float) -> int:
    """The widest integer noise, a power of two, that 32-bit lanes hold beside the signal, for every agent of a sum.

    In units of a lane a record moves the sum of gradients by at most s/σ, and the signal of the largest
    device reaches twice n_ref · q times that (secagg_params), whatever the number of parameters. A whole
    update is half as long as two can lie apart, which is s/σ.

    Raises:
        ConfigError: not even the narrowest that is proven fits.
    """
    if plan.training.whole:
        what = f"updates and noise of {plan.sum_max} devices"
        return widest_noise(plan, 1 / (APART * noise) + SHARE_REACH + 1, what)
    signal = 2 * _largest_n_ref(plan) * plan.training.sample_rate / noise
    what = f"noise in shares and the signal of {plan.sum_max} devices of up to {_largest_n_ref(plan)} records"
    return widest_noise(plan, signal + SHARE_REACH + 1, what)


def widest_noise(plan: Plan, room: float, what: str) -> int:
    """Bits of the widest scale of which a lane of 32 bits holds `room` times, for every agent of a sum.

    Raises:
        ConfigError: `what` does not fit even at the narrowest scale that is proven.
    """
    bits = min(MOST_NOISE_BITS, math.floor(math.log2(LARGEST // plan.sum_max / room)))
    if bits < LEAST_NOISE_BITS:
        raise ConfigError(
            f"{what} do not fit 32-bit lanes; lower secagg.n_max, shard_max or n_ref_max"
        )
    return bits


def _largest_n_ref(plan: Plan) -> int:
    """Of whom an update weighs most; weighed alike, all as the smallest, whose steps are the largest."""
    return plan.secagg.n_ref_max if plan.weights == "declared" else plan.secagg.n_ref_min


def secagg_params(plan: Plan, proposal: TrainingPlan, parameters: int) -> Params:
    """Ring, segments and bounds from public constants only (docs/design.md, "Quantiser").

    The range holds the signal of any honest update twice over, and where updates are weighed, which makes
    the noise of all agents alike, its noise too. The step is a quarter of the noise, of the largest agent
    where they differ, so rounding adds at most 1/64 of its variance. Without noise no value is larger than
    the bound of the whole update, and rounding all values moves it by at most a thousandth of that bound.
    """
    secagg = plan.secagg
    weight = secagg.n_ref_max if plan.weights == "declared" else 1
    if proposal.integer_noise:
        bits, segments = _integer_segments(plan, proposal, parameters, weight)
        return ring_of(plan, bits, segments)
    if proposal.noised:
        reach, noise = _reach_and_noise(proposal, secagg.n_ref_max)
        margin = NOISE_REACH * _most_noise(proposal) if weight > 1 else 0.0
        bound, step = 2 * reach * weight + margin, noise * weight / 4
    else:
        bound = proposal.clip_norm * weight
        step = bound * ROUNDING / math.sqrt(parameters)
    bits, segments = plan_segments(
        parameters, bound_a=bound, step_wanted=step, n_max=plan.sum_max, weight_max=weight
    )
    return ring_of(plan, bits, segments)


def check_worth(plan: Plan, proposal: TrainingPlan, parameters: int) -> None:
    """Raise ConfigError where noise that hides whole devices is longer than all that so few of them can learn."""
    if not proposal.whole:
        return
    noise, devices = proposal.noise_multiplier, plan.rounds.goal
    needed = devices_needed(noise, parameters, proposal.rounds)
    if needed > devices:
        length = noise_length(noise, parameters, devices, proposal.rounds)
        raise ConfigError(
            f'training.unit = "device": of {devices} devices a round (rounds.goal) the noise in {parameters} '
            f"parameters is {length:.3g} times as long as the farthest that the whole run can take the model; it "
            f"takes {needed:,} devices a round, fewer parameters, a larger epsilon, or noise in shares of more honest ones"
        )


def _integer_segments(
    plan: Plan, proposal: TrainingPlan, parameters: int, weight: int
) -> tuple[int, tuple[Segment, ...]]:
    """Lanes of 32 bits whose step leaves room for the rounding in s/σ, the sensitivity that σ is claimed for."""
    scale = 1 << proposal.noise_bits
    clip = scale / proposal.noise_multiplier - math.sqrt(parameters)
    if clip < (MOST_ROUNDING - 1) * math.sqrt(parameters):
        raise ConfigError(
            f"rounding {parameters} parameters would take over 1/{MOST_ROUNDING} of the integer noise; train "
            "fewer, or lower secagg.n_max, shard_max or n_ref_max"
        )
    n_ref = 1 if weight > 1 else plan.secagg.n_ref_min
    moved = (
        APART * proposal.clip_norm
        if proposal.whole
        else proposal.learning_rate * proposal.clip_norm / (proposal.sample_rate * n_ref)
    )
    step = moved / clip * (1 + 1e-9)
    return 32, (
        Segment(WEIGHT, UNSIGNED, 1, 1, weight),
        Segment(PARAMS, SIGNED, parameters, 1, LARGEST // plan.sum_max, step),
    )


def ring_of(plan: Plan, bits: int, segments: tuple[Segment, ...]) -> Params:
    """Ring and cohort as the plan says, with these segments."""
    secagg = plan.secagg
    params = Params(
        prg=PRG[secagg.prg],
        bits=bits,
        n_min=secagg.n_min,
        n_max=plan.sum_max,
        gamma_ppm=secagg.gamma_ppm,
        delta_ppm=secagg.delta_ppm,
        c_min=secagg.c_min,
        sigma=secagg.sigma,
        eta=secagg.eta,
        segments=tuple(segments),
    )
    params.check_overflow()
    return params


def _reach_and_noise(proposal: TrainingPlan, n_ref: int) -> tuple[float, float]:
    """(largest value of the signal in an update, smallest standard deviation of its noise).

    Plain descent moves by at most lr·C per step; momentum m carries each step on up to 1/(1 − m)
    times. Adam divides a gradient by its own size: a coordinate moves by about lr per step whatever
    C and σ are, and by at most lr·(1 − β₁)/√(1 − β₂) (Kingma and Ba, arXiv 1412.6980, §2.1). The
    mean over the steps of a round moves no further, with at least half the noise of the last step.
    """
    lr, steps = proposal.learning_rate, proposal.steps
    if proposal.optimizer == "adam":
        reach, noise = lr * ADAM_REACH * steps, lr * math.sqrt(steps)
    else:
        step = lr * proposal.clip_norm
        reach = step * steps / (1 - proposal.momentum)
        kept = _kept(1 - lr * proposal.proximal, steps)
        noise = step * proposal.noise_multiplier * math.sqrt(kept) / (proposal.sample_rate * n_ref)
        if proposal.average and proposal.proximal:
            # The pull makes steps forget one another, so their mean may cancel more than half.
            noise *= 2 * math.sqrt((1 - proposal.average) / (1 + proposal.average))
    return reach, noise / 2 if proposal.average else noise


def _most_noise(proposal: TrainingPlan) -> float:
    """Largest standard deviation of the noise in a weighed update of plain descent, with momentum or not."""
    step = proposal.learning_rate * proposal.clip_norm * proposal.noise_multiplier
    return step * math.sqrt(proposal.steps) / (1 - proposal.momentum) / proposal.sample_rate


def _kept(factor: float, steps: int) -> float:
    """Σ factor^2s: how many steps' noise is left at the end when each step keeps `factor` of it."""
    if factor == 1:
        return float(steps)
    return (1 - factor ** (2 * steps)) / (1 - factor**2)


def assumed_corrupt(plan: Plan) -> int:
    """C of docs/protocol.md, "Parameters", for the largest cohort of the plan."""
    return max(plan.cohort_max * plan.secagg.gamma_ppm // 1_000_000, plan.secagg.c_min)
