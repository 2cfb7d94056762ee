"""A whole federation in one process: identities, sessions, and a loop that plays one attempt.

Plans say which agent is lost at which exchange; hooks let a test lie on the wire.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeveil.shared.secagg.agreement.cohort import agent_id
from edgeveil.shared.secagg.client.session import ClientPolicy, ClientSession
from edgeveil.shared.secagg.primitives.errors import Refused, SecaggError
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Params, Segment
from edgeveil.shared.secagg.server.stages import CollectAdverts, Result, ServerSetup

VECTORS = Path(__file__).parents[1] / "vectors"
STAGES = ("advert", "share", "masked", "agree", "unmask")
CTX = hashlib.sha256(b"one attempt").digest()


def vectors(name: str = "v1/masks") -> dict:
    return json.loads((VECTORS / f"{name}.json").read_text())


class Identity:
    """An Ed25519 key; derived from a name, so that tests repeat."""

    def __init__(self, name: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.public = self._key.public_key().public_bytes_raw()
        self.id = agent_id(self.public)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def identities(n: int) -> list[Identity]:
    return sorted((Identity(f"agent {i}") for i in range(n)), key=lambda one: one.id)


def params(n: int, *, lanes: int | None = None, bound: int = 100, **changes: object) -> Params:
    """16-bit lanes for a small cohort; the parameter segment has one lane per agent by default."""
    fields = {
        "prg": 1,
        "bits": 16,
        "n_min": min(n, 3),
        "n_max": max(n, 3),
        "gamma_ppm": 100_000,
        "delta_ppm": 100_000,
        "c_min": 0,
        "sigma": 80,
        "eta": 20,
        "segments": (
            Segment("weight", UNSIGNED, 1, 1, 1, 1.0),
            Segment("params", SIGNED, lanes or n, 1, bound, 0.5),
        ),
    }
    return Params(**(fields | changes))


LENIENT = ClientPolicy(n_min=2, n_max=1000, gamma_ppm=0, c_min=0, sigma=40, allow_two=True)


def one_hot(place: int, wanted: Params) -> np.ndarray:
    """Weight 1 and a single 1: any wrong summand shows in the sum."""
    vector = np.zeros(wanted.lanes, np.int64)
    vector[0] = 1
    vector[1 + place % (wanted.lanes - 1)] = 1
    return vector


@dataclass
class Bench:
    """n agents and a server. `agents` are in ascending order of id; their index is their name."""

    n: int
    params: Params
    vectors: list[np.ndarray]
    policy: ClientPolicy = LENIENT
    ctx: bytes = CTX
    setup_extra: Mapping[str, object] = field(default_factory=dict)
    agents: list[Identity] = field(default_factory=list)
    sessions: dict[bytes, ClientSession] = field(default_factory=dict)
    refusals: dict[bytes, Refused] = field(default_factory=dict)
    faults: dict[bytes, SecaggError] = field(default_factory=dict)
    traffic: list[tuple[str, bytes, bytes, bytes, bytes | None]] = field(default_factory=list)

    @classmethod
    def of(cls, n: int, wanted: Params | None = None, **extra: object) -> "Bench":
        wanted = wanted or params(n)
        bench = cls(n, wanted, [one_hot(i, wanted) for i in range(n)], **extra)
        bench.agents = identities(n)
        for place, agent in enumerate(bench.agents):
            bench.sessions[agent.id] = bench.session(place)
        return bench

    @property
    def members(self) -> dict[bytes, bytes]:
        return {agent.id: agent.public for agent in self.agents}

    def session(self, place: int, **changes: object) -> ClientSession:
        fields = {
            "ctx": self.ctx,
            "params": self.params,
            "members": self.members,
            "signer": self.agents[place],
            "policy": self.policy,
            "vector": self.vectors[place],
        }
        return ClientSession(**(fields | changes))

    def stage(self) -> CollectAdverts:
        return CollectAdverts(ServerSetup(self.ctx, self.params, self.members, **self.setup_extra))

    def exchange(
        self,
        name: str,
        stage: object,
        lost: Iterable[int] = (),
        requests: Callable[[dict[bytes, bytes]], dict[bytes, bytes]] | None = None,
        replies: Callable[[bytes, bytes, object], tuple[bytes, object]] | None = None,
    ) -> None:
        """Ask every waiting agent that is not lost; lies are made by the two hooks."""
        bodies = dict.fromkeys(stage.waiting, b"") if name == "advert" else stage.requests()
        bodies = requests(bodies) if requests else bodies
        gone = {self.agents[place].id for place in lost}
        for agent, body in bodies.items():
            if agent in gone:
                stage.drop(agent)
                continue
            try:
                answer, bulk = ask(self.sessions[agent], name, body)
            except Refused as refusal:
                self.refusals[agent] = refusal
                stage.drop(agent)
                continue
            if replies:
                answer, bulk = replies(agent, answer, bulk)
            self.traffic.append((name, agent, body, answer, bulk))
            try:
                stage.accept(agent, answer, bulk)
            except SecaggError as fault:
                self.faults[agent] = fault
                stage.drop(agent)

    def play(
        self,
        lost: Mapping[str, Iterable[int]] | None = None,
        requests: Mapping[str, Callable] | None = None,
        replies: Mapping[str, Callable] | None = None,
    ) -> Result:
        """One attempt; agents lost at an exchange never answer again. Raises Aborted."""
        stage, gone = self.stage(), set()
        for name in STAGES:
            gone |= set((lost or {}).get(name, ()))
            self.exchange(name, stage, gone, (requests or {}).get(name), (replies or {}).get(name))
            stage = stage.close()
        return stage

    def expected(self, result: Result) -> np.ndarray:
        places = {agent.id: place for place, agent in enumerate(self.agents)}
        return sum(self.vectors[places[agent]] for agent in result.u3)


def ask(session: ClientSession, name: str, body: bytes) -> tuple[bytes, object]:
    if name == "advert":
        return session.advert(), None
    if name == "masked":
        return session.masked(body)
    return getattr(session, name)(body), None
