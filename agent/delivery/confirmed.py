"""What the owner allows without a ledger open: policy.toml, held to what each ledger of this home has confirmed.

A change of policy.toml that allows more counts from the moment it is chained (agent policy set … --yes, agent run
--accept-policy); one that allows less counts at once. A home without a ledger has confirmed nothing yet: its file
is the owner's word, as it is for the first ledger. Nothing here decides about a budget.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.privacy.ledger.bookmark import Bookmark, continued
from edgeveil.shared.privacy.ledger.records import Fault, LedgerDamaged, read_records
from edgeveil.shared.privacy.ledger.replay import replay

LEDGER = "ledger.jsonl"
BOOKMARK = "ledger.bookmark"
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class InForce:
    """`policies`: the file's and the chained ones; what is to be done by itself all of them have to allow."""

    policies: tuple[Policy, ...]

    @property
    def fetches(self) -> bool:
        return all(each.model.fetch for each in self.policies)

    @property
    def tells_model(self) -> bool:
        return all(each.tell_model for each in self.policies)

    @property
    def worse_max(self) -> float:
        return min(each.model.worse_max for each in self.policies)

    def takes(self, coordinator: str) -> bool:
        """Whether models of this key, in hex, are wanted: that of the coordinator which this device has joined."""
        named = (each.coordinators for each in self.policies)
        return all(isinstance(each, str) or coordinator in each for each in named)


def in_force(home: Path) -> InForce:
    """As the files are now.

    Raises:
        ConfigError: policy.toml is wrong.
        LedgerDamaged: a ledger cannot be trusted; what it has confirmed is unknown.
    """
    device = AgentHome(home)
    path = device.policy_path
    policy = Policy.load(path) if path.exists() else Policy.default()
    return InForce((policy, *_chained(device)))


def _chained(device: AgentHome) -> Iterator[Policy]:
    root = device.ledger_folder
    for folder in sorted(
        {path.parent for name in (LEDGER, BOOKMARK) for path in root.glob(f"*/{name}")}
    ):
        yield _policy(folder / LEDGER, _stamp(folder / LEDGER), device.identity().public)


@lru_cache(maxsize=32)
def _policy(ledger: Path, _stamp: _Stamp, public: bytes) -> Policy:
    """The one that was chained last. Records that the device's bookmark attests are not verified again."""
    mark = None
    with suppress(
        OSError, ProtocolError
    ):  # first: a running agent only ever adds to what it attests
        mark = Bookmark.decode(ledger.with_name(BOOKMARK).read_bytes(), public)
    data = ledger.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if mark is None:
        state = replay(read_records(whole, public))
    else:
        state = continued(mark, whole, public, ledger)
    if state.dataset_id != ledger.parent.name:
        raise LedgerDamaged(
            Fault.CHAIN,
            1,
            f"{ledger}: the ledger of another data set, {state.dataset_id!r}; put the right one back",
        )
    return Policy.from_json(state.limits.policy_json)


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise LedgerDamaged(
            Fault.CHAIN,
            1,
            f"{path}: this ledger is gone, although {BOOKMARK} attests that there was one; put it back",
        ) from error
    return found.st_ino, found.st_mtime_ns, found.st_size
