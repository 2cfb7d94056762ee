"""CPU time, memory and bytes of secure aggregation, beside Flower's own and beside the floor.

    python scripts/bench_secagg.py                         # n = 10, 100, 1000; d = 1e5, 1e6
    python scripts/bench_secagg.py --n 100 --d 1e6 --drop 0.1 --json out.json
    python scripts/bench_secagg.py --whole 1000 --d 1e5    # a whole round, every agent real

One agent is real from end to end and is measured, and so is the server, with its real messages from
all n. The other agents make real keys, shares, signatures and answers, but upload their vector
unmasked; one of them uploads what makes the sum come out, so that the server's work and its checks
are exactly those of a real round. The floor is one AES-256-CTR keystream and one addition per mask.
Times are CPU seconds of this process; the least of --repeat runs.
"""

import argparse
import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches"), str(ROOT / "scripts")]

from bench_secagg_flower import flower_costs  # noqa: E402 - the path is set just above
from secagg_bench import LENIENT, STAGES, ask, identities  # noqa: E402

from edgeveil.shared.secagg.agreement import messages  # noqa: E402
from edgeveil.shared.secagg.client.masking import Shared  # noqa: E402
from edgeveil.shared.secagg.client.session import ClientSession  # noqa: E402
from edgeveil.shared.secagg.primitives import keys, mask, ring  # noqa: E402
from edgeveil.shared.secagg.primitives.errors import Aborted  # noqa: E402
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Params, Segment  # noqa: E402
from edgeveil.shared.secagg.server import mask_removal as unmasking  # noqa: E402
from edgeveil.shared.secagg.server.recovery import Recovered  # noqa: E402
from edgeveil.shared.secagg.server.stages import CollectAdverts, ServerSetup  # noqa: E402

CTX = bytes(range(32))
T = TypeVar("T")


@dataclass
class Meter:
    """CPU seconds and bytes of memory (peak over what the measured calls keep) of one party."""

    seconds: float = 0.0
    wall: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    kept: int = 0
    peak: int = 0

    def run(self, name: str, call: Callable[[], T]) -> T:
        before = 0
        if tracemalloc.is_tracing():
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
        started, began = time.process_time(), time.monotonic()
        try:
            return call()
        finally:
            spent = time.process_time() - started
            self.seconds += spent
            self.wall += time.monotonic() - began
            self.parts[name] = self.parts.get(name, 0.0) + spent
            if tracemalloc.is_tracing():
                now, peak = tracemalloc.get_traced_memory()
                self.peak = max(self.peak, self.kept + peak - before)
                self.kept += now - before


def make_params(n: int, d: int, bits: int) -> Params:
    """The default assumptions: 10 % corrupt, 10 % lost, sigma 80; the widest values the ring holds."""
    bound = ((1 << (bits - 1)) - 1) // n
    segments = (Segment("weight", UNSIGNED, 1), Segment("params", SIGNED, d, 1, bound, 1.0))
    return Params(1, bits, 3, n, 100_000, 100_000, 1, 80, 20, segments)


@contextmanager
def stand_ins(vector: ring.Ring) -> Iterator[None]:
    """Inside, sessions share one vector and add no masks, and each signature is verified once."""
    to_ring, add_masks, verifies = ring.to_ring, Shared._add_masks, keys.verifies  # noqa: SLF001
    erase = Shared.erase
    ring.to_ring = lambda _values, _params: vector
    Shared._add_masks = lambda _self, _keys: None  # type: ignore[method-assign] # noqa: SLF001
    Shared.erase = lambda _self: None  # type: ignore[method-assign]
    keys.verifies = _VERIFIED
    try:
        yield
    finally:
        ring.to_ring, Shared._add_masks = to_ring, add_masks  # type: ignore[method-assign] # noqa: SLF001
        keys.verifies, Shared.erase = verifies, erase  # type: ignore[method-assign]


_VERIFIED = lru_cache(maxsize=200_000)(keys.verifies)


class Scenario:
    """One attempt of n agents of which the last `lost` upload nothing; agent 0 is measured."""

    def __init__(self, n: int, d: int, lost: int, *, bits: int, parts: int = 1) -> None:
        self.params = make_params(n, d, bits)
        self.people = identities(n)
        self.place = {one.id: place for place, one in enumerate(self.people)}
        self.members = {one.id: one.public for one in self.people}
        self.gone = {one.id for one in self.people[n - lost :]} if lost else set()
        self.measured, self.balancer = self.people[0].id, self.people[1].id
        self.client, self.server = Meter(), Meter()
        self.upload = self.download = 0
        self.pool = ThreadPoolExecutor(parts)
        self.setup = ServerSetup(CTX, self.params, self.members, parts=parts, spread=self.pool.map)
        self.blank = ring.zeros(self.params.lanes, bits)
        self.blank[0] = 1
        vector = np.zeros(self.params.lanes, np.int64)
        vector[0] = 1
        self.sessions = {}
        for one in self.people:
            if one.id == self.measured:
                opened = self.client.run("open", partial(self._session, one, vector))
                self.sessions[one.id] = opened
            else:
                with stand_ins(self.blank):
                    self.sessions[one.id] = self._session(one, vector)

    def _session(self, one: Any, vector: ring.Lanes) -> ClientSession:
        return ClientSession(
            ctx=CTX,
            params=self.params,
            members=self.members,
            signer=one,
            policy=LENIENT,
            vector=vector,
        )

    def play(self) -> None:
        """Run the attempt; raises if the sum is not the number of survivors on every weight."""
        stage: Any = CollectAdverts(self.setup)
        for name in STAGES:
            bodies = dict.fromkeys(sorted(self.members), b"")
            if name != "advert":
                bodies = self.server.run(name, stage.requests)
            if name == "masked":
                self._collect_masks()
            for agent, body in bodies.items():
                if agent in self.gone and name == "masked":
                    stage.drop(agent)
                    continue
                answer, bulk = self._ask(agent, name, body)
                self.server.run(name, partial(stage.accept, agent, answer, bulk))
            stage = self.server.run(f"close {name}", stage.close)
        self.pool.shutdown()
        if stage.lanes[0] != len(self.members) - len(self.gone) or stage.lanes[1:].any():
            raise RuntimeError("the sum is wrong")

    def _ask(self, agent: bytes, name: str, body: bytes) -> tuple[bytes, Any]:
        session = self.sessions[agent]
        if agent == self.measured:
            answer, bulk = self.client.run(name, partial(ask, session, name, body))
            self.upload += len(answer) + len(bulk or b"")
            self.download += len(body)
            return answer, bulk
        with stand_ins(self.blank):
            answer, bulk = ask(session, name, body)
        if agent == self.balancer and name == "masked":
            return self._balance(body)
        return answer, bulk

    def _collect_masks(self) -> None:
        """The keys of every mask that will be left in the sum, from the sessions' own states."""
        states = {agent: session._state for agent, session in self.sessions.items()}  # noqa: SLF001
        one = states[self.measured]
        cohort = one.cohort
        u3 = frozenset(self.members) - self.gone
        publics = {agent: state.pairwise.public for agent, state in states.items()}
        found = Recovered(
            {agent: states[agent].seed for agent in u3},
            {agent: states[agent].pairwise.secret for agent in self.gone},
        )
        left = unmasking.mask_keys(cohort, frozenset(self.members), u3, publics, found)
        own = self.measured
        scope = {"ctx": CTX, "u1_hash": cohort.u1_hash}
        present = [(keys.self_mask_key(one.seed, **scope, agent_id=own), True)]
        for peer, link in one.links.items():
            key = keys.pair_mask_key(
                one.pairwise, link.mask_key, **scope, own_id=own, other_id=peer
            )
            present.append((key, peer > own))
        self._left = [(key, not subtract) for key, subtract in left] + present
        self._cohort, self._u2_hash = cohort, cohort.u2_hash(self.members)

    def _balance(self, _body: bytes) -> tuple[bytes, memoryview]:
        """What makes all uploads sum to the masks of a real round; signed like any upload."""
        lanes = self.blank.copy()
        mask.add_all_into(lanes, self._left, cipher=self.params.cipher)
        packed = ring.pack(lanes, self.params.bits)
        signer = self.people[self.place[self.balancer]]
        message = self._cohort.masked_message(self._u2_hash, self.balancer, packed)
        return messages.MaskedReply(signer.sign(message)).encode(), packed


def floor_seconds(d: int, bits: int, repeat: int) -> float:
    """One mask: bare AES-256-CTR into one reused buffer and one in-place addition, 128 KB at a time."""
    lanes = ring.zeros(d, bits)
    step = (1 << 17) // lanes.itemsize
    zeros, out = bytes(1 << 17), bytearray((1 << 17) + 16)
    stream = np.frombuffer(out, lanes.dtype, step)

    def once() -> None:
        cipher = Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor()
        for first in range(0, d, step):
            part = lanes[first : first + step]
            cipher.update_into(zeros[: part.nbytes], out)
            np.add(part, stream[: len(part)], part)

    return least(once, repeat)


def least(call: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return min(times)


def measure(n: int, d: int, drop: float, given: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    lost = round(n * drop)
    runs = []
    for _ in range(given.repeat if n * d <= 10**8 else 1):
        scenario = Scenario(n, d, lost, bits=given.bits, parts=given.parts)
        scenario.play()
        runs.append(scenario)
        gc.collect()
    one = min(runs, key=lambda run: run.client.seconds)
    server = min(run.server.seconds for run in runs)
    k = one.params.solve(n).k
    floor = floor_seconds(d, given.bits, 15)
    own = ring.zeros(d, given.bits)
    fused = least(lambda: mask.add_into(own, bytes(32)), 15)
    removed = (
        n
        - lost
        + lost
        * len([1 for peer in one._cohort.neighbours(one.people[-1].id) if peer not in one.gone])  # noqa: SLF001
    )
    row = {
        "n": n,
        "k": k,
        "d": d,
        "bits": given.bits,
        "drop": drop,
        "client_ms": 1000 * one.client.seconds,
        "client_masks_ms": 1000 * one.client.parts["masked"],
        "client_floor_ms": 1000 * (k + 1) * floor,
        "mask_over_floor": fused / floor,
        "server_s": server,
        "server_wall_s": min(run.server.wall for run in runs),
        "server_parts": {name: round(s, 4) for name, s in one.server.parts.items()},
        "server_floor_s": removed * floor,
        "upload_bytes": one.upload,
        "upload_ratio": one.upload / (d * given.bits / 8),
        "download_bytes": one.download,
    }
    if given.memory == "yes" or (given.memory == "small" and n * d <= 10**8):
        row |= memory(n, d, lost, given)
    if not given.no_flower:
        row |= flower_costs(n, k, one.params.solve(n).t, d, lost)
        row["client_flower_ratio"] = row["flower_client_ms"] / row["client_ms"]
        if "client_peak_bytes" in row:
            row["memory_flower_ratio"] = row["flower_peak_bytes"] / row["client_peak_bytes"]
    return row


def memory(n: int, d: int, lost: int, given: argparse.Namespace) -> dict[str, int]:
    """Peaks of what the measured calls allocate, from a run of its own: tracing costs time."""
    tracemalloc.start()
    try:
        scenario = Scenario(n, d, lost, bits=given.bits, parts=given.parts)
        scenario.play()
        return {
            "client_peak_bytes": scenario.client.peak,
            "server_peak_bytes": scenario.server.peak,
        }
    finally:
        tracemalloc.stop()


def whole(n: int, d: int, bits: int, *, once: bool) -> dict[str, Any]:
    """Every agent real; 5 % lost before the upload. With `once` each signature is verified once."""
    import resource  # noqa: PLC0415 - not on every platform

    verifies = keys.verifies
    if once:
        keys.verifies = lru_cache(maxsize=200_000)(verifies)
    try:
        started, wall = time.process_time(), time.monotonic()
        params, people = make_params(n, d, bits), identities(n)
        members = {one.id: one.public for one in people}
        vector = np.zeros(params.lanes, np.int64)
        vector[0] = 1
        sessions = {
            one.id: ClientSession(
                ctx=CTX, params=params, members=members, signer=one, policy=LENIENT, vector=vector
            )
            for one in people
        }
        gone = {one.id for one in people[: n // 20]}
        stage: Any = CollectAdverts(ServerSetup(CTX, params, members))
        for name in STAGES:
            bodies = dict.fromkeys(sorted(members), b"") if name == "advert" else stage.requests()
            for agent, body in bodies.items():
                if name == "masked" and agent in gone:
                    stage.drop(agent)
                    continue
                stage.accept(agent, *ask(sessions[agent], name, body))
            stage = stage.close()
        if stage.lanes[0] != n - len(gone) or stage.lanes[1:].any():
            raise RuntimeError("the sum is wrong")
    finally:
        keys.verifies = verifies
    return {
        "n": n,
        "d": d,
        "bits": bits,
        "each_signature_once": once,
        "cpu_s": time.process_time() - started,
        "wall_s": time.monotonic() - wall,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


COLUMNS = (
    ("n", "n", "{}"),
    ("k", "k", "{}"),
    ("d", "d", "{:.0e}"),
    ("drop", "drop", "{:.0%}"),
    ("client ms", "client_ms", "{:.1f}"),
    ("floor ms", "client_floor_ms", "{:.1f}"),
    ("Flower ms", "flower_client_ms", "{:.0f}"),
    ("x", "client_flower_ratio", "{:.1f}"),
    ("mask/floor", "mask_over_floor", "{:.2f}"),
    ("server s", "server_s", "{:.3f}"),
    ("its wall s", "server_wall_s", "{:.3f}"),
    ("floor s", "server_floor_s", "{:.3f}"),
    ("Flower s*", "flower_server_s", "{:.1f}"),
    ("client MB", "client_peak_bytes", "{:.1f}"),
    ("Flower MB", "flower_peak_bytes", "{:.1f}"),
    ("server MB", "server_peak_bytes", "{:.1f}"),
    ("upload x", "upload_ratio", "{:.3f}"),
)


def cells(row: dict[str, Any]) -> list[str]:
    texts = []
    for _, key, form in COLUMNS:
        value = row.get(key)
        if value is not None and key.endswith("peak_bytes"):
            value /= 1e6
        texts.append("-" if value is None else form.format(value))
    return texts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--n", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--d", type=float, nargs="+", default=[1e5, 1e6])
    parser.add_argument("--drop", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.3])
    parser.add_argument("--bits", type=int, choices=(16, 24, 32), default=32)
    parser.add_argument("--parts", type=int, default=1, help="threads that take the masks off")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-flower", action="store_true")
    parser.add_argument(
        "--memory", choices=("no", "small", "yes"), default="small", help="trace it"
    )
    parser.add_argument("--whole", type=int, metavar="N", help="a whole round of N real agents")
    parser.add_argument("--full-verification", action="store_true", help="with --whole")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if given.whole:
        rows = [
            whole(given.whole, int(d), given.bits, once=not given.full_verification)
            for d in given.d
        ]
    else:
        print(" | ".join(head for head, _, _ in COLUMNS))
        for n in given.n:
            for d in given.d:
                for drop in given.drop:
                    try:
                        rows.append(measure(n, int(d), drop, given))
                    except Aborted as error:
                        reason = f"{error.code}: {error}"
                        print(f"{n} | {d:.0e} | {drop:.0%} | no sum: {reason}", flush=True)
                        rows.append({"n": n, "d": d, "drop": drop, "aborted": reason})
                    else:
                        print(" | ".join(cells(rows[-1])), flush=True)
        print("* the parts measured, their sum extrapolated; see bench_secagg_flower.py")
    text = json.dumps(rows, indent=2)
    if given.json:
        given.json.write_text(text + "\n")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
