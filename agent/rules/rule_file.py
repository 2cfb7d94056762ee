"""rules.toml: what the owner wants to follow from answers, and whether results are forwarded (docs/rules.md).

It names programs to run, so only its owner may write or read it. Files it names are found beside it.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, Strict, StringConstraints, model_validator

from edgeveil.agent.rules.actions import CommandAction, Forward, MqttAction, PostAction
from edgeveil.agent.rules.condition import Condition, parse
from edgeveil.shared.base.config import Settings, validate
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import as_text, read_secret

NAME = "rules.toml"
MOST_FILE = 1 << 18  # bytes
MOST_RULES = 50
MOST_WINDOW = 100
DAY_S = 86_400

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_Name = Annotated[str, Strict(), StringConstraints(pattern=rf"^{_NAME.pattern}$")]
_Seconds = Annotated[float, Field(ge=0, le=7 * DAY_S)]
_OF = re.compile(r"(\d{1,3}) of (\d{1,3})")


def _as_command(value: object) -> object:
    return {"run": value} if isinstance(value, list | tuple | str) else value


def _as_post(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


class Rule(Settings):
    """`for` is k of the last n answers; `expires_s`: an alarm that cannot be delivered for so long is dropped."""

    name: _Name
    when: Annotated[str, Strict()]
    for_: Annotated[str, Strict(), Field(alias="for")] = "1 of 1"
    cooldown_s: _Seconds = 0.0
    expires_s: Annotated[float, Field(gt=0, le=7 * DAY_S)] = 600.0
    webhook: Annotated[PostAction | None, BeforeValidator(_as_post)] = None
    mqtt: MqttAction | None = None
    command: Annotated[CommandAction | None, BeforeValidator(_as_command)] = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        parse(self.when)
        found = _OF.fullmatch(self.for_)
        if found is None or not 1 <= int(found[1]) <= int(found[2]) <= MOST_WINDOW:
            raise ValueError(f'for is "K of N" answers, 1 to {MOST_WINDOW}, such as "3 of 5"')
        actions = [each for each in (self.webhook, self.mqtt, self.command) if each is not None]
        if len(actions) != 1:
            raise ValueError("give one of webhook, mqtt and command")
        return self

    @property
    def condition(self) -> Condition:
        return parse(self.when)

    @property
    def needed(self) -> int:
        return int(self.for_.split()[0])

    @property
    def window(self) -> int:
        return int(self.for_.split()[2])

    @property
    def action(self) -> PostAction | MqttAction | CommandAction:
        found = self.webhook or self.mqtt or self.command
        if found is None:
            raise TypeError("a rule without an action is not made")
        return found


class RulesFile(Settings):
    """`rule` first; `forward` is off unless it stands here."""

    rule: Annotated[tuple[Rule, ...], Field(max_length=MOST_RULES)] = ()
    forward: Forward | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        names = [each.name for each in self.rule]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules have the name {twice[0]!r}")
        if not names and self.forward is None:
            raise ValueError("neither [[rule]] nor [forward]: nothing would follow from any answer")
        return self


@dataclass(frozen=True, slots=True)
class Owned:
    """A rules.toml as read from `path`."""

    path: Path
    rules: tuple[Rule, ...]
    forward: Forward | None

    def beside(self, name: str) -> Path:
        """Where a file lies that it names."""
        return self.path.parent / Path(name).expanduser()


def read_rules(path: Path) -> Owned:
    """Raise StateDamaged for a file that others could have written, ConfigError for one that is wrong or not there."""
    if not path.is_symlink() and not path.exists():
        raise ConfigError(f"{path}: this file does not exist; docs/rules.md has samples")
    data = read_secret(path, most=MOST_FILE, what="rules file")
    try:
        values = tomllib.loads(as_text(data))
    except (ValueError, RecursionError) as error:  # also text that is none
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    try:
        found = validate(values, RulesFile, source=str(path))
    except ConfigError as error:
        raise ConfigError(_by_name(error.message, str(path), values.get("rule"))) from error
    return Owned(path, found.rule, found.forward)


def _by_name(mistakes: str, source: str, rules: object) -> str:
    """With rules called by their names, where these are fine, instead of `rule.0`."""

    def called(place: re.Match[str]) -> str:
        rule = rules[int(place[1])] if isinstance(rules, list) else None
        name = rule.get("name") if isinstance(rule, dict) else None
        fine = isinstance(name, str) and _NAME.fullmatch(name)
        return f"{source}: rule {name!r}: " if fine else place[0]

    return re.sub(
        rf"^{re.escape(source)}: rule\.(\d+)(?:\.|: )", called, mistakes, flags=re.MULTILINE
    )


def owners_rules(home: Path, given: Path | None) -> Owned | None:
    """`--rules FILE`, else rules.toml of the home; None where there is none."""
    path = given if given is not None else home / NAME
    if given is None and not path.is_symlink() and not path.exists():
        return None
    return read_rules(path)
