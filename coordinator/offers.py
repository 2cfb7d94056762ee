"""What one attempt proposes: parameters, plan, roster and model, bound together by one context.

Composed once per attempt; the bodies of two agents differ only in the ledger head echoed back.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coordinator.plan import Plan
from shared.identity import Signer
from shared.messages import Attempt, Request, RoundOffer, Stage, Tensor, make_request
from shared.parameters import model_hash
from shared.plan import TrainingPlan
from shared.privacy.filter import choose_order, noise_multiplier_for
from shared.quantization import plan_segments
from shared.roster import SignedRoster
from shared.secagg import context
from shared.secagg.parameters import Params
from shared.secagg.server import ServerSetup
from shared.tasks.spec import TaskSpec

ADAM_REACH = (1 - 0.9) / math.sqrt(1 - 0.999)  # at torch's default moments
PRG = {"aes-256-ctr": 1, "chacha20": 2}
CORES = os.cpu_count() or 1


def training_plan(plan: Plan) -> TrainingPlan:
    """The proposal every agent gets: σ is the least that keeps count + spare rounds within epsilon.

    At the order that a ledger opened without a schedule enforces, so that agents find it sufficient.
    """
    training, rounds = plan.training, plan.rounds
    steps = training.steps * (rounds.count + rounds.spare)
    order = choose_order(training.epsilon, training.delta)
    exact = noise_multiplier_for(
        training.epsilon, training.delta, steps, training.sample_rate, order=order
    )
    return TrainingPlan(
        options=plan.task.options,
        steps=training.steps,
        sample_rate=training.sample_rate,
        clip_norm=training.clip_norm,
        learning_rate=training.learning_rate,
        optimizer=training.optimizer,
        momentum=training.momentum,
        average=training.average,
        proximal=training.proximal,
        control_variates=plan.server.strategy == "scaffold",
        noise_multiplier=math.ceil(exact * 1e4) / 1e4,
        delta=training.delta,
        rounds=rounds.count,
    )


def secagg_params(plan: Plan, proposal: TrainingPlan, parameters: int) -> Params:
    """Ring, segments and bounds from public constants only (docs/design.md, "Quantiser").

    The range holds any honest update twice over. The step is a quarter of the noise of the largest
    agent, so rounding adds at most 1/64 of its variance.
    """
    secagg = plan.secagg
    reach, noise = _reach_and_noise(proposal, secagg.n_ref_max)
    bits, segments = plan_segments(
        parameters,
        bound_a=2 * reach,
        step_wanted=noise / 4,
        n_max=plan.sum_max,
    )
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


def _kept(factor: float, steps: int) -> float:
    """Σ factor^2s: how many steps' noise is left at the end when each step keeps `factor` of it."""
    if factor == 1:
        return float(steps)
    return (1 - factor ** (2 * steps)) / (1 - factor**2)


def assumed_corrupt(plan: Plan) -> int:
    """C of docs/protocol.md, "Parameters", for the largest cohort of the plan."""
    return max(plan.cohort_max * plan.secagg.gamma_ppm // 1_000_000, plan.secagg.c_min)


def _side_by_side(work: Callable[[range], None], ranges: Iterable[range]) -> Iterator[None]:
    """Masks come off in as many threads as there are cores: keystreams run outside Python's lock."""
    with ThreadPoolExecutor(CORES) as pool:
        yield from pool.map(work, ranges)


@dataclass(frozen=True)
class Proposal:
    """Everything that is the same for all agents of one attempt, and how they are sharded."""

    attempt: Attempt
    task: TaskSpec
    plan: TrainingPlan
    params: Params
    roster: SignedRoster
    shards: tuple[tuple[bytes, ...], ...]  # the selected agents; mostly one shard
    tensors: tuple[Tensor, ...]
    model: NDArray[np.float32] = field(repr=False)
    signer: Signer
    deadline_s: float
    variate: NDArray[np.float32] | None = field(default=None, repr=False)

    @cached_property
    def model_hash(self) -> bytes:
        return model_hash(self.model, self.tensors, self.variate)

    @cached_property
    def contexts(self) -> tuple[bytes, ...]:
        """Ctx of each shard: one hash that every key, signature and share of its attempt binds."""
        config_hash = context.config_hash(self.params.encode(), self.plan.to_json())
        roster_hash = self.roster.roster.hash()
        return tuple(
            context.context(
                federation_id=self.roster.roster.federation_id,
                run_id=self.attempt.run_id,
                round_number=self.attempt.round,
                attempt=self.attempt.attempt,
                shard=shard,
                task_hash=self.task.task_hash(),
                model_hash=self.model_hash,
                config_hash=config_hash,
                roster_hash=roster_hash,
            )
            for shard in range(len(self.shards))
        )

    @property
    def selected(self) -> tuple[bytes, ...]:
        return tuple(sorted(agent for shard in self.shards for agent in shard))

    @cached_property
    def setups(self) -> tuple[ServerSetup, ...]:
        """What the aggregation of each shard starts from."""
        members = self.roster.roster.members
        return tuple(
            ServerSetup(
                ctx,
                self.params,
                {agent: members[agent] for agent in shard},
                parts=CORES,
                spread=_side_by_side,
            )
            for ctx, shard in zip(self.contexts, self.shards, strict=True)
        )

    @cached_property
    def bulk(self) -> bytes:
        """The model as one little-endian vector, and the control variate if there is one, shared by
        all requests of the attempt.
        """
        vectors = [self.model] if self.variate is None else [self.model, self.variate]
        return b"".join(vector.astype("<f4", copy=False).tobytes() for vector in vectors)

    @cached_property
    def _open_signatures(self) -> tuple[bytes, ...]:
        return tuple(self.signer.sign(context.open_message(ctx)) for ctx in self.contexts)

    @cached_property
    def _shard_of(self) -> dict[bytes, int]:
        return {agent: number for number, shard in enumerate(self.shards) for agent in shard}

    def offers(self, heads: Mapping[bytes, bytes], agents: Iterable[bytes]) -> dict[bytes, Request]:
        """M1 for each of these agents; `heads` holds the ledger heads that agents signed earlier."""
        return {agent: self._offer(agent, heads.get(agent, b"")) for agent in agents}

    def _offer(self, agent: bytes, head: bytes) -> Request:
        shard = self._shard_of[agent]
        offer = RoundOffer(
            task_id=self.task.id,
            task_version=self.task.version,
            code_hash=self.task.code_hash(),
            shard=shard,
            params=self.params.encode(),
            plan_json=self.plan.to_json(),
            roster_body=self.roster.roster.body(),
            roster_signature=self.roster.signature,
            tensors=self.tensors,
            ledger_echo=head,
            deadline_ms=round(self.deadline_s * 1000),
            open_signature=self._open_signatures[shard],
        )
        return make_request(
            self.signer, agent, Stage.ROUND, self.attempt, offer.encode(), self.bulk
        )
