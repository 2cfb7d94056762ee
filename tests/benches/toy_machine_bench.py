"""The real round machine over stages without cryptography: same sets, same quorum rules, no keys.

For what needs a hundred thousand rounds. A toy answer has no content; the machine cannot tell.
"""

import hashlib
import random
from contextlib import contextmanager
from types import SimpleNamespace

from secagg_bench import params

from edgeveil.coordinator.machine import attempt as rounds
from edgeveil.coordinator.machine.attempt import Deadlines, RoundMachine
from edgeveil.coordinator.machine.machine import Abort, Finish, Send
from edgeveil.shared.secagg.agreement.cohort import Cohort
from edgeveil.shared.secagg.agreement.result import Result
from edgeveil.shared.secagg.primitives.errors import Aborted, Infeasible
from edgeveil.shared.secagg.server import stage as server_stage
from edgeveil.shared.secagg.server.quorum import lacking
from edgeveil.shared.secagg.server.stage import too_small
from edgeveil.shared.wire.messages import Stage

CTX = hashlib.sha256(b"toy").digest()


class ToyStage(server_stage.Stage):
    def __init__(self, setup, asked, cohort=None, u2=frozenset(), u3=frozenset()):
        super().__init__(setup, asked)
        self.cohort, self.u2, self.u3 = cohort, u2, u3
        self.answers = set()

    def requests(self):
        return dict.fromkeys(sorted(self._waiting), b"")

    def _take(self, agent, body, bulk):
        self.answers.add(agent)


class ToyAdverts(ToyStage):
    def __init__(self, setup):
        super().__init__(setup, setup.members)

    def _problem(self):
        try:
            self._setup.params.solve(max(2, len(self.answers)))
        except Infeasible as error:
            return Aborted(error.code, str(error))
        return too_small(self.answers, "U1", self._setup.params)

    def close(self):
        self._finish()
        listed = [(agent, hashlib.sha256(agent).digest()) for agent in sorted(self.answers)]
        cohort = Cohort(CTX, listed, self._setup.params)
        return ToyShares(self._setup, self.answers, cohort)


class ToyShares(ToyStage):
    def _problem(self):
        u2 = frozenset(self.answers)
        return too_small(u2, "U2", self._setup.params) or lacking(self.cohort, u2, u2, u2, "U2")

    def close(self):
        self._finish()
        return ToyMasked(self._setup, self.answers, self.cohort, frozenset(self.answers))


class ToyMasked(ToyStage):
    def _problem(self):
        u3 = frozenset(self.answers)
        return too_small(u3, "U3", self._setup.params) or lacking(
            self.cohort, u3, self.u2, u3, "U3"
        )

    def close(self):
        self._finish()
        return ToyAgreements(
            self._setup, self.answers, self.cohort, self.u2, frozenset(self.answers)
        )


class ToyAgreements(ToyStage):
    def _problem(self):
        return lacking(self.cohort, frozenset(self.answers), self.u2, self.u3, "V")

    def close(self):
        self._finish()
        return ToyUnmasking(self._setup, self.answers, self.cohort, self.u2, self.u3)


class ToyUnmasking(ToyAgreements):
    def close(self):
        self._finish()
        result = object.__new__(Result)
        object.__setattr__(result, "u3", tuple(sorted(self.u3)))
        object.__setattr__(result, "liars", ())
        return result


@contextmanager
def toy_stages():
    """The machine builds toy stages inside this block."""
    real = rounds.stages.CollectAdverts
    rounds.stages.CollectAdverts = ToyAdverts
    try:
        yield
    finally:
        rounds.stages.CollectAdverts = real


def play(asked, goal, adverts, lost_at, *, minimum=3):
    """One round on the machine; `lost_at` maps an agent's number to the stage from which it is silent.

    The number of agents in the sum, or 0 when the attempt aborted.
    """
    agents = [number.to_bytes(16, "big") for number in range(asked)]
    setup = SimpleNamespace(members=dict.fromkeys(agents, b""), params=_params(asked))
    machine = RoundMachine(setup, tuple(agents), min(adverts, asked), minimum, Deadlines(30.0))
    now, actions = 0.0, machine.start(0.0)
    order = list(Stage)
    while True:
        (action,) = actions
        if isinstance(action, Finish):
            return len(action.result.u3)
        if isinstance(action, Abort):
            return 0
        assert isinstance(action, Send)
        actions = []
        for agent in action.agents:
            stage = lost_at.get(int.from_bytes(agent, "big"))
            if stage is None or order.index(action.stage) < order.index(stage):
                actions = machine.reply(agent, action.stage, b"", None, now)
                if actions:
                    break
        if not actions:
            now = machine.deadline
            actions = machine.tick(now)


_known = {}


def _params(asked):
    if asked not in _known:
        _known[asked] = params(max(asked, 3), lanes=3)
    return _known[asked]


def lost_agents(asked, rate, chance: random.Random):
    """Each agent is lost with `rate`, at a random stage."""
    stages = list(Stage)
    return {number: chance.choice(stages) for number in range(asked) if chance.random() < rate}
