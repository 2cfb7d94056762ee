"""What one attempt proposes: parameters, plan, roster and model, bound together by one context.

Composed once per attempt; the bodies of two agents differ only in the ledger head echoed back.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.secagg.server.stages import ServerSetup
from edgeveil.shared.tasks.spec import TaskSpec
from edgeveil.shared.vector.model_vector import Frozen, model_hash
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.messages import Attempt, Request, RoundOffer, Stage, Tensor, make_request
from edgeveil.shared.wire.plan import AnyPlan
from edgeveil.shared.wire.roster import SignedRoster

CORES = os.cpu_count() or 1


def _side_by_side(work: Callable[[range], None], ranges: Iterable[range]) -> Iterator[None]:
    """Masks come off in as many threads as there are cores: keystreams run outside Python's lock."""
    with ThreadPoolExecutor(CORES) as pool:
        yield from pool.map(work, ranges)


@dataclass(frozen=True)
class Proposal:
    """Everything that is the same for all agents of one attempt, and how they are sharded."""

    attempt: Attempt
    task: TaskSpec
    plan: AnyPlan
    params: Params
    roster: SignedRoster
    shards: tuple[tuple[bytes, ...], ...]  # the selected agents; mostly one shard
    tensors: tuple[Tensor, ...]
    model: NDArray[np.float32] = field(repr=False)
    signer: Signer
    deadline_s: float
    variate: NDArray[np.float32] | None = field(default=None, repr=False)
    frozen: Frozen | None = None

    @cached_property
    def model_hash(self) -> bytes:
        return model_hash(self.model, self.tensors, self.variate, self.frozen)

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
    def _frozen_bytes(self) -> bytes | None:
        return None if self.frozen is None else self.frozen.to_bytes()

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
        body = offer.encode()
        return make_request(
            self.signer, agent, Stage.ROUND, self.attempt, body, self.bulk, self._frozen_bytes
        )
