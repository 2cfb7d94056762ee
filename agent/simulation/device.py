"""One simulated device: its home, its enrolment without a network, and the agent's own session on it."""

import json
import logging
import time
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from edgeveil.agent.flower_link import client_app
from edgeveil.agent.home.config import AgentConfig, save, settle
from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.record_policy import RecordPolicy, record_policy
from edgeveil.agent.joining.enrollment import admit, request_of
from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.rounds.device import Device
from edgeveil.agent.rounds.embedding import completion
from edgeveil.agent.rounds.session import Session
from edgeveil.agent.rounds.start import check_ready, declare_data
from edgeveil.agent.simulation.plain import PlainSession
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.secagg.client.session import ClientSession
from edgeveil.shared.tasks.backbone.photos import suited
from edgeveil.shared.tasks.own.shelf import use
from edgeveil.shared.terminal.progress import progress
from edgeveil.shared.wire.join import JoinAnswer
from edgeveil.shared.wire.messages import Reply, Request, Stage
from edgeveil.shared.wire.tokens import Token

FILE = "simulated.json"  # in the home: that it is of a simulation, and how its sums are made
NO_AUTHORITY = b"simulated: no network, no certificate"

log = logging.getLogger("edgeveil.agent")


class _Simulated(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    secagg: Literal["real", "sum"]


@cache
def _declared(source: Path) -> RecordPolicy:
    """What all owners say of their records: a part may lack a class that the others have."""
    return record_policy(suited(source))


class SimulatedDevice:
    """Made anew in another process it goes on from its home, as a device that restarts does."""

    def __init__(self, path: Path) -> None:
        self._home = AgentHome(path)
        self._session: Session | None = None
        self._last: Reply | None = None
        self._seconds, self._rounds = 0.0, 0  # at work, in attempts begun
        self.app = client_app.build(self._handle)

    def join(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Settle policy, data and keys as `agent join` does; what the device asks its coordinator with."""
        home, token = self._home, Token.decode(str(asked["token"]))
        simulated = _Simulated(secagg=asked["secagg"])
        write_atomic(home.path / FILE, simulated.model_dump_json().encode())
        policy = Policy.parse(dict(asked["policy"]), f"simulated device {token.name}")
        policy = policy.model_copy(update={"data": _declared(Path(str(asked["all"])))})
        config = settle(home.path, Path(str(asked["data"])), None)
        shelf = self._shelf(policy, config)[1]
        # What an owner declares before the first start costs nothing.
        policy = policy.model_copy(update={"n_ref": shelf.summary().usable})
        write_atomic(home.policy_path, policy.to_toml().encode())
        save(home.path, config)
        home.ensure_keys()
        home.save_join_token(token)
        return {"request": request_of(home, token).encode().decode()}

    def member(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Take the coordinator's answer, with the roster that holds this device."""
        token = self._home.join_token()
        if token is not None:
            answer = JoinAnswer.decode(json.dumps(asked["answer"]).encode())
            admit(self._home, token, answer, NO_AUTHORITY)
        return self.start(asked)

    def start(self, _asked: dict[str, Any]) -> dict[str, Any]:
        """Open the ledger and read the records, as `agent run` does."""
        return {"size": self._started().size}

    def budget(self, _asked: dict[str, Any]) -> dict[str, Any]:
        """What its own ledger says; null where nothing bounds it."""
        found = read_budget(self._home.path).as_json()
        alone = found["epsilon_spent"]
        return {
            "epsilon": alone,
            "epsilon_sum": found.get("epsilon_sum", alone),
            "seconds": self._seconds,
            "rounds": self._rounds,
        }

    def answered(self) -> None:
        """The reply made last has reached the coordinator."""
        if self._last is not None and self._session is not None:
            self._session.accepted(self._last)
        self._last = None

    def _handle(self, request: Request) -> Reply:
        session, began = self._started(), time.perf_counter()
        self._last = session.handle(request)
        if isinstance(request.stage, Stage):
            self._seconds += time.perf_counter() - began
            self._rounds += request.stage is Stage.ROUND
        return self._last

    def _started(self) -> Session:
        if self._session is None:
            self._session = self._open()
        return self._session

    def _open(self) -> Session:
        home = self._home
        use(home.path)
        simulated = _Simulated.model_validate_json((home.path / FILE).read_bytes())
        policy, shelf = self._shelf(Policy.load(home.policy_path), settle(home.path, None, None))
        config = settle(home.path, None, None)
        watch = partial(progress, quiet=True)
        shelf.complete(completion(home, policy, config.compute, log.info, watch))
        return Session(
            Device(
                home=home,
                pinned=home.pinned(),
                signer=home.identity(),
                policy=policy,
                dataset_id=config.dataset,
                shelf=shelf,
                clock=SystemClock(),
                on_status=log.info,
                accept_looser=True,  # its owner agrees to the plan, and nobody else changes the policy
                progress=watch,
                secagg=ClientSession if simulated.secagg == "real" else PlainSession,
            )
        )

    def _shelf(self, policy: Policy, config: AgentConfig) -> tuple[Policy, DataShelf]:
        """The records, and the policy with what they are."""
        policy, shelf = declare_data(self._home, policy, config.data, log.info)
        if policy.data is not None:
            check_ready(self._home, config, shelf, policy.data)
        return policy, shelf
