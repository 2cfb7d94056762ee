"""What an agent does about each answer of the gateway: try again, start over, give up, or stop."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import httpx

from edgeveil.shared.base.errors import EnrollmentError, TransportError
from edgeveil.shared.wire.certificates import find_refusal, not_yet_valid, why_refused

_FIRST_S = 0.1
_MOST_S = 2.0
_CLOCK_S = 30.0
_AGREE_S = 3.0
_TRY_AGAIN = frozenset({408, 429, 502, 503, 504})
_NOT_PERMITTED = {
    "unknown_key": "this agent is not on the coordinator's roster; ask the operator to enrol it",
    "revoked": "this agent has been revoked; ask the operator for a new invitation",
    "superseded": "a newer process of this agent is connected; stop one of the two",
}

Result = TypeVar("Result")


class ActivateFirst(Exception):
    """The gateway does not know this session any more: activate again."""


class Dropped(Exception):
    """This exchange is over for us, and why: refused, expired, not ours. The agent goes on."""


class SessionOver(Exception):
    """The gateway takes nothing more of this session, though the clocks agree: start a new one.

    It has seen later times of this session than now: both clocks went back.
    """


class Stopped(Exception):
    """The owner asked the agent to stop."""


@dataclass(frozen=True, eq=False)
class Caller:
    """Runs Fleet calls until they succeed. `say` receives one sentence when something is wrong."""

    where: str
    say: Callable[[str], None]
    stop: threading.Event

    def call(self, action: Callable[[], Result], *, deadline: float = float("inf")) -> Result:
        """The call's result.

        `deadline` is monotonic; without one, what may pass is retried for ever.

        Raises:
            ActivateFirst, Dropped, SessionOver, Stopped: see there.
            EnrollmentError: unknown key, revoked, or superseded.
            TransportError: the coordinator's certificate or an answer that no retry can change.
        """
        pause_s = _FIRST_S
        while True:
            if self.stop.is_set():
                raise Stopped
            try:
                return action()
            except httpx.HTTPStatusError as error:
                wait_s = self._judge(error.response, pause_s)
            except httpx.TransportError as error:
                wait_s = self._judge_failure(error, pause_s)
            if time.monotonic() + wait_s > deadline:
                raise Dropped("its time ran out")
            self.pause(wait_s)
            pause_s = min(2 * pause_s, _MOST_S)

    def pause(self, seconds: float) -> None:
        """Sleep with ±20 % jitter; raises Stopped."""
        jitter = 0.8 + 0.4 * secrets.randbelow(1000) / 1000
        if self.stop.wait(seconds * jitter):
            raise Stopped

    def _judge(self, response: httpx.Response, pause_s: float) -> float:
        """Seconds to wait before the next try, or the matching exception."""
        status = response.status_code
        code, server_time = _code(response)
        if status == httpx.codes.PRECONDITION_REQUIRED:
            raise ActivateFirst
        if code in _NOT_PERMITTED:
            raise EnrollmentError(f"{self.where}: {_NOT_PERMITTED[code]}")
        if code == "clock_skew":
            if server_time is not None and abs(server_time - time.time()) <= _AGREE_S:
                raise SessionOver
            self.say(_clock_sentence(server_time))
            return _CLOCK_S
        if status in _TRY_AGAIN:
            self.say(f"{self.where} is busy or starting ({status}); trying again")
            return pause_s
        if code == "version":
            raise TransportError(
                f"{self.where} speaks another protocol version; update the older of the two"
            )
        if status == httpx.codes.UNAUTHORIZED:
            raise TransportError(
                f"{self.where} does not accept this agent's requests ({code or 'no reason given'}); "
                "check the agent's files or join again"
            )
        raise Dropped(f"the coordinator answered {status} {code}".rstrip())

    def _judge_failure(self, error: BaseException, pause_s: float) -> float:
        """Seconds to wait before the next try; raises TransportError for a certificate that stays wrong.

        A board without a clock of its own starts years ago, until the network has told it the time.
        """
        refusal = find_refusal(error)
        if refusal is None:
            self.say(f"no connection to {self.where}; trying again")
            return pause_s
        why = f"{self.where}: its certificate does not verify: {why_refused(refusal)}"
        if not not_yet_valid(refusal):
            raise TransportError(why) from error
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.say(f"{why}: it says {now} (trying again every {_CLOCK_S:.0f} s)")
        return _CLOCK_S


def _code(response: httpx.Response) -> tuple[str, float | None]:
    try:
        fields = response.json()
        code = fields["code"]
        server_time = fields.get("server_time")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", None
    good = isinstance(server_time, int | float) and abs(server_time) < 1e11
    return str(code)[:40], float(server_time) if good else None


def _clock_sentence(server_time: float | None) -> str:
    ours = datetime.now(UTC)
    if server_time is None:
        theirs = "unknown"
    else:
        theirs = datetime.fromtimestamp(server_time, UTC).isoformat(timespec="seconds")
    return (
        f"this device's clock says {ours.isoformat(timespec='seconds')}, the coordinator's {theirs}; "
        "they may differ by 5 s: set this clock right (trying again every 30 s)"
    )
