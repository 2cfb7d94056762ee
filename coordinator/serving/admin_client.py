"""How the other commands reach a running `coordinator serve`: HTTP over the Unix socket in its home."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from edgeveil.shared.base import errors, exit_codes, files

SOCKET = "admin.sock"
_KINDS: dict[int, type[errors.EdgeveilError]] = {
    exit_codes.ExitCode.USAGE: errors.ConfigError,
    exit_codes.ExitCode.DAMAGED: errors.StateDamaged,
    exit_codes.ExitCode.TEMPORARY: errors.Busy,
    exit_codes.ExitCode.UNAVAILABLE: errors.TransportError,
    exit_codes.ExitCode.NOT_PERMITTED: errors.EnrollmentError,
}


def kind_of(code: int) -> Callable[[str], errors.EdgeveilError]:
    """What makes an error with this exit code, ours for whatever is no other's."""
    return _KINDS.get(code, _ours)


def _ours(message: str) -> errors.EdgeveilError:
    return errors.ProtocolError(errors.RefusalCode.INTERNAL, message, blame=errors.Blame.SELF)


def call(
    home: Path, name: str, *, within_s: float = 30.0, **arguments: Any
) -> dict[str, Any] | None:
    """Ask the running coordinator of `home`; None when none runs. It has `within_s` seconds to answer.

    Raises:
        EdgeveilError: the coordinator's own answer, as the kind its exit code names.
        TransportError: it accepted the connection and did not answer.
    """
    path = home / SOCKET
    if not path.exists():
        return None
    try:
        with files.short_socket_path(path) as address:
            transport = httpx.HTTPTransport(uds=address)
            with httpx.Client(transport=transport, timeout=within_s, trust_env=False) as client:
                answer = client.post(f"http://coordinator/{name}", json=arguments)
    except httpx.ConnectError:
        return None  # the socket of a process that was killed
    except httpx.HTTPError as error:
        raise errors.TransportError(
            f"{path}: the running coordinator does not answer ({error})"
        ) from error
    values: dict[str, Any] = answer.json()
    if answer.status_code == httpx.codes.OK:
        return values
    code = int(values.get("exit_code", exit_codes.ExitCode.BUG))
    raise kind_of(code)(str(values.get("error", "the coordinator refused")))
