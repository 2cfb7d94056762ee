"""Coordinator and n agents on a seeded virtual network that drops, duplicates, reorders and delays
messages and crashes any party at any step. The same seed replays the same schedule.

The real round machine, stages and sessions run here; time and network are virtual. Agent i masks a
one-hot vector whose value counts its trainings, so that a summand that is wrong, missing, double or
of another attempt shows in the sum. simulate() raises Violation when a rule is broken.
"""

import hashlib
import heapq
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from secagg_bench import LENIENT, Identity, ask, identities, params

from edgeveil.coordinator.machine.attempt import Deadlines, RoundMachine
from edgeveil.coordinator.machine.machine import Abort, Finish, Send
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.client.session import ClientSession
from edgeveil.shared.secagg.primitives import keys
from edgeveil.shared.secagg.primitives.errors import Infeasible, Refused
from edgeveil.shared.secagg.server.stages import ServerSetup
from edgeveil.shared.wire.messages import Stage

CALLS = {
    Stage.ROUND: "advert",
    Stage.SHARE: "share",
    Stage.MASKED: "masked",
    Stage.AGREE: "agree",
    Stage.UNMASK: "unmask",
}
ATTEMPTS = 3
MOST_EVENTS = 20_000


class Violation(AssertionError):
    """A rule of the protocol was broken; the message names the seed that shows it again."""


@dataclass(frozen=True)
class Weather:
    """Chances per message (drop, duplicate, late) and per message received (crash)."""

    drop: float
    duplicate: float
    late: float
    crash: float


CALM = Weather(0, 0, 0, 0)
WEATHERS = (
    CALM,
    Weather(0.02, 0.1, 0.02, 0.0),
    Weather(0.05, 0.3, 0.05, 0.01),
    Weather(0.0, 0.0, 0.0, 0.03),
    Weather(0.15, 0.2, 0.1, 0.03),
)


@dataclass
class Agent:
    """`last`, `trainings` and `unsent` survive a crash (they are on the disk), the session does not."""

    place: int
    last: int = 0
    trainings: int = 0
    unsent: bool = False  # a trained update that was never submitted may be masked in a new attempt
    session: ClientSession | None = None
    attempt: int = 0
    offer: bytes = b""
    down_until: float = -1.0


@dataclass
class Outcome:
    seed: int
    n: int
    ended: list[str] = field(default_factory=list)  # per attempt: finished, crashed, or a reason
    faults: Counter = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)


_people = lru_cache(maxsize=8)(identities)  # the same few keys in every schedule


class Simulation:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        n = self.rng.choice((2, 3, 4, 4, 5, 5, 6, 7))
        self.weather = self.rng.choice(WEATHERS)
        self.out = Outcome(seed, n)
        self.people = _people(n)
        self.params = params(
            n,
            n_min=min(n, self.rng.choice((2, 3))),
            bits=self.rng.choice((16, 24, 32)),
            prg=self.rng.choice((1, 2)),
            c_min=self.rng.choice((0, 0, 1)),
        )
        self.members = {one.id: one.public for one in self.people}
        self.agents = {one.id: Agent(place) for place, one in enumerate(self.people)}
        self.goal = max(self.params.n_min, n - (self.rng.random() < 0.2))
        self.now, self.attempt, self.serial = 0.0, 0, 0
        self.machine: RoundMachine | None = None
        self.queue: list[tuple] = []
        self.masked: dict[tuple[int, bytes], tuple[int, bytes]] = {}  # → (training, bytes sent)
        self.revealed: dict[tuple[int, bytes], bytes] = {}  # (attempt, holder) → M5 reply
        self.received: dict[int, set[bytes]] = {}  # attempt → holders whose M5 reply was taken

    def run(self) -> Outcome:
        self._open_attempt()
        for _ in range(MOST_EVENTS):
            if not self.queue:
                return self._check_end()
            self.now, _, act, *rest = heapq.heappop(self.queue)
            act(*rest)
        raise self._violation("the schedule does not end")

    # The coordinator

    def _open_attempt(self) -> None:
        self.attempt += 1
        ctx = self._ctx(self.attempt)
        self.machine = RoundMachine(
            setup=ServerSetup(ctx, self.params, self.members),
            selected=tuple(self.members),
            goal=self.goal,
            minimum=self.params.n_min,
            deadlines=Deadlines(30.0),
        )
        self._note(f"attempt {self.attempt}")
        self._act(self.machine.start(self.now))

    def _act(self, actions: list) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._note(f"send {action.stage} to {len(action.agents)}")
                for agent in action.agents:
                    self._request(agent, action.stage, action.bodies.get(agent, b"offer"))
                self._at(self.machine.deadline, self._tick, self.attempt)
                self._at(self.now + 5.0, self._resend, self.attempt, action)
            elif isinstance(action, Finish):
                self._check_sum(action.result)
                self._end("finished")
            elif isinstance(action, Abort):
                self._check_hidden()
                self._end(action.reason)

    def _resend(self, attempt: int, action: Send) -> None:
        """The transport tries again for whoever has not answered."""
        if self.machine is not None and (attempt, action.stage) == (
            self.attempt,
            self.machine.stage,
        ):
            for agent in sorted(self.machine.waiting):
                self._request(agent, action.stage, action.bodies.get(agent, b"offer"))

    def _tick(self, attempt: int) -> None:
        if self.machine is not None and attempt == self.attempt:
            self._act(self.machine.tick(self.now))

    def _end(self, how: str) -> None:
        self._note(f"attempt {self.attempt}: {how}")
        self.out.ended.append(how)
        self.machine = None
        if how != "finished" and self.attempt < ATTEMPTS:
            self._at(self.now + self.rng.uniform(0, 20), self._open_attempt)

    def _reply(self, attempt: int, agent: bytes, stage: Stage, answer: tuple) -> None:
        if self._crashes():
            self.out.faults["coordinator crash"] += 1
            if self.machine is not None:
                self._end("crashed")
            return
        if self.machine is None or attempt != self.attempt:
            return
        body, bulk, refusal = answer
        if refusal is not None:
            self._act(self.machine.refused(agent, stage, refusal, self.now))
            return
        taken = stage is Stage.UNMASK and stage is self.machine.stage
        if taken and agent in self.machine.waiting:
            self.received.setdefault(attempt, set()).add(agent)
        self._act(self.machine.reply(agent, stage, body, bulk, self.now))

    # The agents

    def _ask(self, attempt: int, agent_id: bytes, stage: Stage, body: bytes) -> None:
        agent = self.agents[agent_id]
        if self.now < agent.down_until:
            return
        if self._crashes():
            self._crash(agent)
            return
        try:
            reply, bulk = self._answer(agent, attempt, stage, body)
        except Refused as refusal:
            agent.session = None
            self._check_refusal(refusal, stage)
            answer = b"", None, RefusalCode(refusal.code)
        else:
            answer = reply, bulk, None
        if self._crashes():  # after the work was saved, before the answer leaves
            self._crash(agent)
            return
        self._transmit(self._reply, attempt, agent_id, stage, answer)

    def _answer(self, agent: Agent, attempt: int, stage: Stage, body: bytes) -> tuple:
        if stage is Stage.ROUND and not (agent.session and agent.attempt == attempt):
            if attempt <= agent.last:
                raise Refused("ROUND_REPLAY", "not after the last attempt")
            self._join(agent, attempt)
        if agent.session is None or agent.attempt != attempt:
            raise Refused("STATE", "no part in this attempt")
        before = agent.session.state
        body, bulk = ask(agent.session, CALLS[stage], body)
        holder = self.people[agent.place].id
        if stage is Stage.MASKED:
            if before == "SHARED":
                agent.unsent = False  # the ledger's `submit`, before anything leaves
            self._check_masked(agent, attempt, bytes(bulk))
        if stage is Stage.UNMASK and self.revealed.setdefault((attempt, holder), body) != body:
            raise self._violation("an agent revealed two different sets of shares")
        return body, bulk

    def _join(self, agent: Agent, attempt: int) -> None:
        """Train (or keep an update that was never sent) and open a session."""
        if agent.session is not None:
            agent.session.erase()
        if not agent.unsent:
            agent.trainings += 1
            agent.unsent = True
        agent.last = agent.attempt = attempt
        agent.session = ClientSession(
            ctx=self._ctx(attempt),
            params=self.params,
            members=self.members,
            signer=self.people[agent.place],
            policy=LENIENT,
            vector=self._vector(agent.place, agent.trainings),
            random=random.Random(f"{self.out.seed}/{agent.place}/{attempt}").randbytes,
        )

    def _crash(self, agent: Agent) -> None:
        self.out.faults["agent crash"] += 1
        agent.session = None
        agent.down_until = self.now + self.rng.expovariate(1 / 10)

    # The network

    def _request(self, agent: bytes, stage: Stage, body: bytes) -> None:
        self._transmit(self._ask, self.attempt, agent, stage, body)

    def _transmit(self, receive, *message: object) -> None:
        weather, rng = self.weather, self.rng
        if rng.random() < weather.drop:
            self.out.faults["drop"] += 1
            return
        copies = 1 + (rng.random() < weather.duplicate)
        self.out.faults["duplicate"] += copies - 1
        for _ in range(copies):
            delay = rng.expovariate(1.0)
            if rng.random() < weather.late:
                self.out.faults["late"] += 1
                delay += rng.uniform(0, 90)
            self._at(self.now + delay, receive, *message)

    def _at(self, when: float, act, *rest: object) -> None:
        self.serial += 1
        heapq.heappush(self.queue, (when, self.serial, act, *rest))

    def _crashes(self) -> bool:
        return self.rng.random() < self.weather.crash

    # The rules

    def _check_masked(self, agent: Agent, attempt: int, sent: bytes) -> None:
        holder = self.people[agent.place].id
        known = self.masked.setdefault((attempt, holder), (agent.trainings, sent))
        if known[1] != sent:
            raise self._violation("two different masked vectors in one attempt")
        elsewhere = [
            tried
            for (tried, who), (training, _) in self.masked.items()
            if who == holder and training == known[0]
        ]
        if elsewhere != [attempt]:
            raise self._violation("one update was masked in two attempts")

    def _check_sum(self, result) -> None:
        due = np.zeros(self.params.lanes, np.int64)
        for agent in result.u3:
            training, _ = self.masked[self.attempt, agent]
            due += self._vector(self.agents[agent].place, training)
        if not (result.lanes == due).all():
            raise self._violation(f"a wrong sum: {result.lanes.tolist()}, due {due.tolist()}")
        if len(result.u3) < self.params.n_min or result.liars:
            raise self._violation("a sum of too few, or an honest agent named a liar")
        self._check_kinds(frozenset(result.u3))

    def _check_kinds(self, u3: frozenset[bytes]) -> None:
        """Nobody revealed a seed of the lost or a mask secret of the living."""
        for (attempt, _), body in self.revealed.items():
            if attempt != self.attempt:
                continue
            for owner, kind, _ in messages.UnmaskReply.decode(body, self.out.n).shares:
                if (kind == messages.SEED_SHARE) != (owner in u3):
                    raise self._violation("a share of the wrong kind was revealed")

    def _check_hidden(self) -> None:
        """After an abort some agent is short of the shares that would unmask it."""
        holders = self.received.get(self.attempt, set())
        if not holders:
            return
        shares = Counter(
            owner
            for holder in holders
            for owner, _, _ in messages.UnmaskReply.decode(
                self.revealed[self.attempt, holder], self.out.n
            ).shares
        )
        adverts = len(self.machine._collecting._masked.cohort)
        t = self.params.solve(adverts).t
        u2 = self.machine._collecting._masked.u2
        if all(shares[owner] >= t for owner in u2):
            raise self._violation("aborted although every secret could be recovered")

    def _check_refusal(self, refusal: Refused, stage: Stage) -> None:
        """An honest coordinator is never accused of lying; a session only misses what it lost."""
        if refusal.code not in {"STATE", "ROUND_REPLAY"}:
            raise self._violation(f"an honest {stage} was refused: {refusal}")

    def _check_end(self) -> Outcome:
        self.out.trace.append(f"{self.now:8.2f} end")
        if self.weather is CALM and self._feasible() and self.out.ended != ["finished"]:
            raise self._violation(f"nothing went wrong and yet: {self.out.ended}")
        return self.out

    def _feasible(self) -> bool:
        try:
            self.params.solve(self.goal)
        except Infeasible:
            return False
        return True

    def _vector(self, place: int, training: int) -> np.ndarray:
        vector = np.zeros(self.params.lanes, np.int64)
        vector[0], vector[1 + place] = 1, training
        return vector

    def _ctx(self, attempt: int) -> bytes:
        return hashlib.sha256(f"{self.out.seed}/{attempt}".encode()).digest()

    def _note(self, text: str) -> None:
        self.out.trace.append(f"{self.now:8.2f} {text}")

    def _violation(self, text: str) -> Violation:
        return Violation("\n".join([f"seed {self.out.seed}: {text}", *self.out.trace]))


_SIGNED: set[tuple[bytes, bytes, bytes]] = set()
_AGREED: dict[frozenset[bytes], bytes] = {}


def reuse_cryptography() -> None:
    """For long runs: all parties share one process, so what one of them computed stays computed.

    A signature made here is not verified again, a pair's key agreement is made once; whatever was
    not made here still goes through the real code.
    """
    sign, verifies, exchange = Identity.sign, keys.verifies, keys.KeyPair.exchange

    def sign_and_note(self, message):
        signature = sign(self, message)
        _SIGNED.add((self.public, signature, message))
        return signature

    def verifies_unless_made_here(public, signature, message):
        if (public, signature, message) not in _SIGNED:
            verifies(public, signature, message)

    def exchange_once(self, public):
        pair = frozenset((self.public, public))
        if pair not in _AGREED:
            _AGREED[pair] = exchange(self, public)
        return _AGREED[pair]

    Identity.sign, keys.verifies = sign_and_note, verifies_unless_made_here
    keys.KeyPair.exchange = exchange_once


def reuse_until_the_test_ends(monkeypatch):
    """As reuse_cryptography(), undone with the test."""
    for owner, name in ((Identity, "sign"), (keys, "verifies"), (keys.KeyPair, "exchange")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    reuse_cryptography()


def simulate(seed: int) -> Outcome:
    """Play the schedule of this seed to its end; raises Violation."""
    _SIGNED.clear()
    _AGREED.clear()
    return Simulation(seed).run()
