"""One command of a rule: a list of arguments, a small environment, no shell, an end."""

import os
import signal
import subprocess
from collections.abc import Mapping

from edgeveil.agent.forwarding.trusted import Refused, Undelivered
from edgeveil.agent.rules.actions import CommandAction, filled
from edgeveil.shared.base.exit_codes import ExitCode

KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TZ", "USER")  # of our own environment


def run(action: CommandAction, values: Mapping[str, str]) -> None:
    """Wait for it to end with 0; its output is not read.

    Raises:
        Undelivered: it could not be started, or ended with 75, which asks for another time.
        Refused: it ended with another code, or was ended after its time; it may have done part of its work.
    """
    arguments = [filled(each, dict(values)) for each in action.run]
    named = {f"EDGEVEIL_{name.upper()}": value for name, value in values.items()}
    try:
        process = subprocess.Popen(  # noqa: S603 - the owner's list of arguments; no shell
            arguments,
            env={name: os.environ[name] for name in KEPT if name in os.environ} | named,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise Undelivered(f"{action.run[0]} could not be started ({error})") from error
    try:
        code = process.wait(action.timeout_s)
    except subprocess.TimeoutExpired as error:
        os.killpg(
            process.pid, signal.SIGKILL
        )  # it is not reaped yet, so the number is still its own
        process.wait()
        raise Refused(f"{action.run[0]} was ended after {action.timeout_s:g} s") from error
    if code == ExitCode.TEMPORARY:
        raise Undelivered(f"{action.run[0]} ended with {code}")
    if code != 0:
        raise Refused(f"{action.run[0]} ended with {code}")
