"""When the next heartbeat is due: regularly, and at once when this device's clock was set.

SuperLink judges by the wall clock who is offline: after a jump forwards everybody is, until a heartbeat.
"""

import secrets
import threading
import time
from collections.abc import Callable

HEARTBEAT_S = 24.0  # give or take a tenth; offline is more than twice as much
AGAIN_S = 6.0  # after one that failed; the gateway takes one every five seconds
LOOK_S = 2.0  # between looks at the clocks
JUMP_S = 5.0  # as much as the gateway lets clocks differ


def wait_for_beat(
    halt: threading.Event,
    *,
    failed: bool,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> bool:
    """Return when a heartbeat is to be sent; False once `halt` is set."""
    seconds = HEARTBEAT_S * (0.9 + 0.2 * secrets.randbelow(1000) / 1000)
    end = monotonic() + (AGAIN_S if failed else seconds)
    apart = wall() - monotonic()
    while (left := end - monotonic()) > 0:
        if halt.wait(min(left, LOOK_S)):
            return False
        if abs(wall() - monotonic() - apart) > JUMP_S:
            return True
    return not halt.is_set()
