"""What stays the same while an agent runs: its home, its pins, its owner's policy and data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.data import DataShelf
from agent.policy import Policy
from agent.state import AgentHome, Pinned
from shared.clock import Clock
from shared.identity import Identity


@dataclass(frozen=True)
class Device:
    """`on_status` takes one sentence for the owner; `accept_looser` confirms a loosened policy."""

    home: AgentHome
    pinned: Pinned
    signer: Identity = field(repr=False)
    policy: Policy
    dataset_id: str
    shelf: DataShelf
    clock: Clock
    on_status: Callable[[str], None]
    accept_looser: bool = False

    @property
    def ledger_folder(self) -> Path:
        return self.home.ledger_folder / self.dataset_id
