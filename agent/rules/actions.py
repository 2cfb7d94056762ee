"""What a rule may do: post to a web address, publish under a topic, run a command; and where results are forwarded to.

Values of an answer never meet a shell: a command is a list of arguments, in which a value is an argument of its own
or stands behind an equals sign; what starts shells or reads programs from its arguments takes no values there.
"""

import re
from pathlib import PurePath
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, Strict, StringConstraints, model_validator

from edgeveil.agent.rules.facts import FIELDS
from edgeveil.shared.base.config import Settings
from edgeveil.shared.base.names import meant
from edgeveil.shared.pages.door import is_loopback

MOST_ARGUMENTS = 64
MOST_TOPIC = 200  # bytes
PLACES = ("id", "rule", "time", "model", *FIELDS)  # what a command and a topic may name in braces

_Path = Annotated[str, Strict(), StringConstraints(max_length=1000)]
_Argument = Annotated[str, Strict(), StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]
_BRACES = re.compile(r"\{(\w*)\}")
_ALLOWED = re.compile(r"(?P<option>--?[A-Za-z0-9][\w-]*=)?\{\w+\}", re.ASCII)
# Programs that run, or hand on to a shell, what is in their arguments; also behind env, nice and the like.
_READ_PROGRAMS = {
    "ash", "awk", "bash", "busybox", "chroot", "csh", "dash", "doas", "env", "eval", "expect", "find", "fish", "gawk", "ksh", "lua", "mawk", "nice", "node",
    "nohup", "osascript", "perl", "php", "pwsh", "rsh", "ruby", "runuser", "script", "sed", "setsid", "sh", "ssh", "su", "sudo", "tar", "tclsh", "tcsh", "timeout", "watch",
    "xargs", "zsh",
}  # fmt: skip


class PostTarget(Settings):
    """Plain http on loopback alone. `pin`: SHA-256 of the server's certificate (DER), in hex, instead of authorities."""

    url: Annotated[str, Strict(), StringConstraints(max_length=2000)]
    token_file: _Path = ""
    ca_file: _Path = ""
    pin: Annotated[str, Strict(), StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""

    @model_validator(mode="after")
    def _can_be_reached_safely(self) -> Self:
        if not (self.url.isascii() and self.url.isprintable()) or " " in self.url:
            raise ValueError("a url has plain characters and no spaces")
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"not a url ({error})") from error
        if parts.scheme not in {"http", "https"} or not host or port == 0:
            raise ValueError("write https://HOST/…")
        if parts.username is not None or parts.fragment:
            raise ValueError("a url has no password and no #: a token goes into token_file")
        if parts.scheme == "http" and not is_loopback(host):
            raise ValueError("http only reaches this machine's loopback; elsewhere write https")
        _check_trust(self.ca_file, self.pin, tls=parts.scheme == "https")
        return self


class PostAction(PostTarget):
    """A webhook: the alarm as JSON."""

    @property
    def said(self) -> str:
        return f"posts to {self.url}"


class Forward(PostTarget):
    """Label, score or value, time, random id and model of every answer, to one collector; the oldest wait in vain first."""

    most_entries: Annotated[int, Strict(), Field(ge=1, le=1_000_000)] = 100_000
    most_mb: Annotated[int, Strict(), Field(ge=1, le=1000)] = 50


class MqttAction(Settings):
    """`topic` may hold {label} and the like, each as (part of) one level; without TLS on loopback alone."""

    broker: Annotated[str, Strict(), StringConstraints(max_length=260)]
    topic: Annotated[str, Strict(), StringConstraints(min_length=1)]
    tls: Annotated[bool, Strict()] = True
    ca_file: _Path = ""
    pin: Annotated[str, Strict(), StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""
    user: Annotated[str, Strict(), StringConstraints(max_length=200)] = ""
    password_file: _Path = ""
    qos: Literal[0, 1] = 1
    retain: Annotated[bool, Strict()] = False

    @model_validator(mode="after")
    def _can_be_published(self) -> Self:
        host, colon, port = self.broker.rpartition(":")
        if not (colon and host and port.isdigit() and 0 < int(port[:6]) <= 65535):
            raise ValueError("broker is HOST:PORT")
        if not self.tls and not is_loopback(self.host):
            raise ValueError("without tls a broker is on this machine's loopback")
        if len(self.topic.encode("utf-8", "replace")) > MOST_TOPIC or not self.topic.isprintable():
            raise ValueError(f"a topic has at most {MOST_TOPIC} bytes, all printable")
        if self.topic[0] == "$" or set("+#") & set(self.topic):
            raise ValueError("a topic to publish under holds no + and no #, and begins with no $")
        for name in _BRACES.findall(self.topic):
            _check_place(name)
        _check_trust(self.ca_file, self.pin, tls=self.tls)
        return self

    @property
    def said(self) -> str:
        return f"publishes under {self.topic} at {self.broker}"

    @property
    def host(self) -> str:
        return self.broker.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.broker.rpartition(":")[2])


class CommandAction(Settings):
    """`run`: a program by its full path and its arguments; ended after `timeout_s`, with what it started."""

    run: Annotated[tuple[_Argument, ...], Field(min_length=1, max_length=MOST_ARGUMENTS)]
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30.0

    @model_validator(mode="after")
    def _runs_without_a_shell(self) -> Self:
        if not self.run[0].startswith("/") or "{" in self.run[0]:
            raise ValueError(
                f"{self.run[0]!r}: name the program by its full path, such as /usr/bin/…"
            )
        placed = [(at, each) for at, each in enumerate(self.run) if _BRACES.search(each)]
        reader = next((each for each in self.run if _reads_programs(each)), "")
        for at, argument in placed:
            for name in _BRACES.findall(argument):
                _check_place(name)
            if reader:
                raise ValueError(
                    f"{argument!r}: {reader} may read it as a program; values are in its environment "
                    'instead, such as "$EDGEVEIL_LABEL"'
                )
            found = _ALLOWED.fullmatch(argument)
            if found is None:
                raise ValueError(f'{argument!r}: a value is an argument of its own, or "--option={{label}}"')  # fmt: skip
            if found["option"] is None and "--" not in self.run[1:at]:
                raise ValueError(
                    f'{argument!r}: a value could be taken for an option; write "--option={argument}", or '
                    'put an argument "--" somewhere before it'
                )
        return self

    @property
    def said(self) -> str:
        return f"runs {' '.join(self.run)}"


def filled(argument: str, values: dict[str, str]) -> str:
    """With each value in its place; what the answer does not know is empty."""
    return _BRACES.sub(lambda found: values.get(found[1], ""), argument)


def _reads_programs(argument: str) -> bool:
    return any(_reads(PurePath(word).name) for word in argument.split() or [""])


def _reads(name: str) -> bool:
    return name in _READ_PROGRAMS or re.fullmatch(r"(python|pypy|perl|ruby|lua)[\d.]*", name) is not None  # fmt: skip


def _check_place(name: str) -> None:
    if name not in PLACES:
        near = meant(name, PLACES) or f"; there are {', '.join(PLACES)}"
        raise ValueError(f"{{{name[:40]}}} is no value of an alarm{near}")


def _check_trust(ca_file: str, pin: str, *, tls: bool) -> None:
    if ca_file and pin:
        raise ValueError("ca_file and pin: choose one")
    if (ca_file or pin) and not tls:
        raise ValueError("ca_file and pin belong to TLS")
