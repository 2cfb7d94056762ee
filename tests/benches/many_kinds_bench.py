"""Ledgers of as many kinds of step as charges, and a count of what is done with them."""

import sys
from collections.abc import Callable
from dataclasses import replace

import privacy_bench as bench

from edgeveil.agent.home.policy import Policy, SharedNoise
from edgeveil.agent.ledger import file as ledger_file
from edgeveil.agent.ledger.fields import reserve_fields, shared_fields
from edgeveil.agent.ledger.file import read_ledger
from edgeveil.agent.ledger.guard import Reservation
from edgeveil.agent.ledger.reading import BOOKMARK
from edgeveil.shared.privacy.ledger.records import Kind, Record
from edgeveil.shared.privacy.rdp import LOWEST_ORDER

POLICY = Policy(rounds_max=100_000)
SHARED = Policy(
    rounds_max=100_000, shared_noise=SharedNoise(epsilon_sum_max=1.0, federation_key="offline")
)


def asked(
    number: int, *, noise: float = 500.0, rate: float = 0.01, honest: int = 0
) -> bench.Question:
    """The only round of a run of its own, with noise of its own; in shares if `honest` is given."""
    plan = {"noise_multiplier": noise + number / 1000, "sample_rate": rate, "steps": 1, "rounds": 1}
    shares = {"honest": honest, "noise_bits": 20} if honest else {}
    return bench.question(1, 1, run=f"run-{number}", **plan, **shares)


def charge_many(device: bench.Device, count: int, **changes) -> None:
    """Charge `count` rounds of different noise, without an fsync for each and without a bookmark."""
    device.open(accept_looser=True).close()
    state = read_ledger(device.folder, device.identity.public)
    lines, sums = [], list(state.sum_divergence)
    for number in range(count):
        question = asked(number, **changes)
        kind, of = (
            (Kind.SHARED, shared_fields)
            if question.plan.shared_noise
            else (Kind.RESERVE, reserve_fields)
        )
        fields = of(Reservation(question, free=False), state)
        body = ledger_file._body(kind, state.seq + 1, bench.FrozenClock(), state.dataset_id, fields)
        record = Record.make(body, state.hash, device.identity)
        lines.append(record.line())
        spent = float.fromhex(str(body["rdp_spent"]))  # all that the next charge depends on
        state = replace(state, seq=record.seq, hash=record.hash, sig=record.sig, rdp_spent=spent)
        if kind is Kind.SHARED:
            sums = sums or [0.0] * (state.sum_alpha - LOWEST_ORDER + 1)
            sums[state.sum_alpha - LOWEST_ORDER] = float.fromhex(str(body["sum_rdp_spent"]))
            state = replace(state, sum_divergence=tuple(sums))
    with device.ledger.open("ab") as file:
        file.writelines(lines)
    (device.folder / BOOKMARK).unlink()


def calls_of(act: Callable[[], object]) -> int:
    """How many functions `act` calls, Python's and C's: the same number on every machine."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return calls
