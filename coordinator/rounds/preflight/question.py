"""What a preflight asks: everything of the first offer that is known without a model."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from edgeveil.coordinator.plan.derived import check_worth, secagg_params, training_plan
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.tasks.spec import TaskSpec
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.messages import (
    NONCE_BYTES,
    Asking,
    Attempt,
    PreflightQuestion,
    Request,
    make_request,
)
from edgeveil.shared.wire.plan import AnyPlan
from edgeveil.shared.wire.roster import SignedRoster


@dataclass(frozen=True)
class WholePlan:
    """What stays the same for all questions about one plan."""

    task: TaskSpec
    asked: AnyPlan
    params: Params
    signer: Signer

    @classmethod
    def of(cls, plan: Plan, task: TaskSpec, parameters: int, signer: Signer) -> "WholePlan":
        """`parameters`: how many trainable ones the task's model has."""
        training = training_plan(plan)
        check_worth(plan, training, parameters)
        return cls(task, training, secagg_params(plan, training, parameters), signer)

    def questions(
        self, attempt: Attempt, roster: SignedRoster, heads: Mapping[bytes, bytes]
    ) -> dict[bytes, Request]:
        """One request for each agent in `heads`, whose newest ledger head is echoed."""
        return {agent: self._question(agent, attempt, roster, heads[agent]) for agent in heads}

    def _question(
        self, agent: bytes, attempt: Attempt, roster: SignedRoster, head: bytes
    ) -> Request:
        question = PreflightQuestion(
            task_id=self.task.id,
            task_version=self.task.version,
            code_hash=self.task.code_hash(),
            params=self.params.encode(),
            plan_json=self.asked.to_json(),
            roster_body=roster.roster.body(),
            roster_signature=roster.signature,
            ledger_echo=head,
            nonce=os.urandom(NONCE_BYTES),
        )
        return make_request(self.signer, agent, Asking.PREFLIGHT, attempt, question.encode())
