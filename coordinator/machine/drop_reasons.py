"""Why agents leave a round, as text in records and logs, and what most of them say together (pure)."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.secagg.primitives.canonical import Malformed, uint
from edgeveil.shared.wire.messages import VERSIONS
from edgeveil.shared.wire.versions import Versions


class DropReason(StrEnum):
    """Why an agent left a round; a refusal adds its code after a colon."""

    DEADLINE = "deadline"
    LATE = "late"  # answered after the goal was met
    LOST = "lost"  # the transport gave it up
    REFUSED = "refused"
    INVALID = "invalid"  # its message broke the protocol
    SHARD = "shard"  # the attempt of its shard was aborted; the others' went on


def common_refusal(reasons: Iterable[str]) -> str:
    """The code with which more than half of those that left, and were not merely late, refused; or ""."""
    left = [reason for reason in reasons if reason != DropReason.LATE]
    codes = Counter(
        reason.split(":")[1] for reason in left if reason.startswith(f"{DropReason.REFUSED}:")
    )
    code, times = max(codes.items(), key=lambda item: item[1], default=("", 0))
    return code if 2 * times > len(left) else ""


def told(code: RefusalCode, about: bytes) -> str:
    """What a refusal says beside its code, as the end of a drop reason."""
    match code:
        case RefusalCode.VERSION:
            return f":{_versions(about)}"
        case RefusalCode.ROUND_REPLAY:
            return f":round-{uint(about[:8], 8)}-attempt-{uint(about[8:], 4)}"
        case RefusalCode.POLICY_SIZE:
            return f":n-ref-{uint(about, 4)}"
        case RefusalCode.ROSTER_STALE:
            return f":epoch-{uint(about, 8)}"
        case _:
            return ""


def _versions(about: bytes) -> str:
    """Both sides' protocol versions as part of a drop reason."""
    try:
        agent = Versions.decode(about)
    except Malformed:
        return "unreadable"
    return f"agent-{_short(agent)}:coordinator-{_short(VERSIONS)}"


def _short(versions: Versions) -> str:
    return f"{versions.oldest}-{versions.newest}"
