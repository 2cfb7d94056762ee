"""Power and load of this device, as its owner's rule sees them (policy.toml, [when]).

Power comes from Linux's power_supply class (kernel documentation, ABI/testing/sysfs-class-power), load
from /proc/stat: the share of the processors that other programs used since the last look. Anything that
cannot be read is unknown, and what the owner demands and nobody knows does not hold.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeveil.agent.home.policy import WhenPolicy
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode
from edgeveil.shared.wire.condition import Condition

SUPPLIES = Path("/sys/class/power_supply")
STAT = Path("/proc/stat")
LEAST_S = 2.0  # between two looks at the load; a shorter stretch says little
_OUTSIDE = frozenset({"Mains", "USB", "Wireless"})
_CHARGED = frozenset({"Charging", "Full", "Not charging"})  # the last: full enough, and plugged in


class Power:
    """`folder` holds one folder per supply, as /sys/class/power_supply does."""

    def __init__(self, folder: Path = SUPPLIES) -> None:
        self._folder = folder

    def look(self) -> tuple[bool | None, int | None]:
        """(on outside power, charge of the fullest battery in per cent); None is unknown.

        A device without a battery of its own is on outside power and counts as full.
        """
        try:
            supplies = sorted(self._folder.iterdir())
        except OSError:
            return None, None
        batteries = [each for each in supplies if _is_battery(each)]
        if not batteries:
            return True, 100
        states = {_text(each / "status") for each in batteries}
        plugged = any(
            _text(each / "type") in _OUTSIDE and _text(each / "online") not in {"", "0"}
            for each in supplies
        )
        charging = (
            True if plugged or states & _CHARGED else False if states - {"Unknown", ""} else None
        )
        charges = [
            int(text) for each in batteries if (text := _text(each / "capacity")).isdecimal()
        ]
        return charging, min(max(charges), 100) if charges else None


class Load:
    """`own()` are the processor seconds of this process and its children so far."""

    def __init__(
        self,
        stat: Path = STAT,
        *,
        own: Callable[[], float] = lambda: sum(os.times()[:4]),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stat = stat
        self._own = own
        self._now = now
        self._last = self._read()
        self._share: float | None = None

    def look(self) -> float | None:
        """The share of all processors, 0 to 1, that others used since the last look; None: unknown."""
        here = self._read()
        if here is None or self._last is None:
            self._last, self._share = here, None
            return None
        at, all_s, idle_s, own_s = (a - b for a, b in zip(here, self._last, strict=True))
        if at >= LEAST_S and all_s > 0:
            self._last = here
            self._share = min(max((all_s - idle_s - own_s) / all_s, 0.0), 1.0)
        return self._share

    def _read(self) -> tuple[float, float, float, float] | None:
        """Seconds: clock, all processors together, of these idle, this process."""
        try:
            with self._stat.open("rb") as file:
                ticks = [int(field) for field in file.readline(512).split()[1:9]]
        except (OSError, ValueError):
            return None
        if len(ticks) < 8:
            return None
        hertz = os.sysconf("SC_CLK_TCK")
        idle = ticks[3] + ticks[4]  # idle and waiting for a disk
        return self._now(), sum(ticks) / hertz, idle / hertz, self._own()


class Conditions:
    """The owner's rule over what is measured now."""

    def __init__(
        self,
        rule: WhenPolicy,
        power: Power | None = None,
        load: Load | None = None,
        *,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._rule = rule
        self._paused = paused
        self._power = power or Power()
        self._load = load or Load()

    def now(self) -> Condition:
        charging, charge = self._power.look()
        load = self._load.look()
        return Condition(
            charging=charging,
            battery=None if charge is None else charge >= self._rule.battery_min,
            idle=None if load is None else load <= self._rule.load_max,
        )

    def told(self) -> Condition | None:
        """What the coordinator may know of it; None: nothing."""
        return self.now() if self._rule.tell else None

    def check(self) -> None:
        """Raise PolicyRefusal(POLICY_WHEN) while the owner pauses, or against the rule on power and load.

        Both have one code: whoever asks learns that it is not now, and no more.
        """
        if self._paused():
            raise PolicyRefusal(
                RefusalCode.POLICY_WHEN, "this device's owner has paused it; agent resume ends that"
            )
        reasons = list(self._against(self.now()))
        if reasons:
            raise PolicyRefusal(
                RefusalCode.POLICY_WHEN,
                f"this device's owner lets it train only {' and '.join(reasons)} (policy.toml, [when])",
            )

    def _against(self, now: Condition) -> Iterator[str]:
        rule = self._rule
        if rule.charging and not now.charging:
            yield "on outside power"
        if rule.battery_min > 0 and not now.battery:
            yield f"with {rule.battery_min} % of charge or more"
        if rule.idle and not now.idle:
            share = math.floor(rule.load_max * 100)
            yield f"while other programs use at most {share} % of the processors"


def _is_battery(supply: Path) -> bool:
    """Of the device itself; a mouse's says `scope` Device."""
    return _text(supply / "type") == "Battery" and _text(supply / "scope") != "Device"


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(64).decode("ascii", "replace").strip()
    except OSError:
        return ""
