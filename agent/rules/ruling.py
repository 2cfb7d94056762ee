"""The rules at work: answers go in, alarms come out. Nothing is sent from here."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeveil.agent.rules.facts import FIELDS, Fact, facts_of
from edgeveil.agent.rules.gate import Gate
from edgeveil.agent.rules.rule_file import Rule
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.names import listed, meant

ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Alarm:
    """`at` in Unix seconds; `id` is random, and the same however often it is delivered."""

    id: str
    rule: str
    at: float
    model: str
    fact: Fact

    def as_json(self) -> dict[str, Any]:
        """What a webhook and a topic get; never the name of an input."""
        about = {"id": self.id, "rule": self.rule, "time": round(self.at, 3), "model": self.model}
        return about | {name: self.fact[name] for name in FIELDS if name in self.fact}


class Ruling:
    """The state of all rules over one series of answers; not for several threads at once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._each = [
            (rule.name, rule.condition, Gate(rule.needed, rule.window, rule.cooldown_s))
            for rule in rules
        ]

    def answer(self, answer: Mapping[str, Any], model: str, *, now: float, at: float) -> list[Alarm]:  # fmt: skip
        """`answer` as `--json` prints it, `now` monotonic, `at` Unix seconds; the first fact that fits is told."""
        return self._judged(facts_of(answer), model, now, at, momentary=False)

    def event(self, fact: Fact, model: str, *, now: float, at: float) -> list[Alarm]:
        """Of a counted video; `now` in seconds of the video."""
        return self._judged((fact,), model, now, at, momentary=True)

    def _judged(
        self, facts: Sequence[Fact], model: str, now: float, at: float, *, momentary: bool
    ) -> list[Alarm]:
        alarms = []
        for name, condition, gate in self._each:
            fact = next((each for each in facts if condition.follows(each)), None)
            passed = gate.passes(hit=fact is not None, now=now, momentary=momentary)
            if passed and fact is not None:
                alarms.append(Alarm(os.urandom(ID_BYTES).hex(), name, at, model, fact))
        return alarms


def check_fits(
    rules: Sequence[Rule], names: frozenset[str], labels: Sequence[str], source: str
) -> None:
    """Raise ConfigError where a rule asks for what answers with these facts and labels never say.

    An alarm that can never come would be taken for peace.
    """
    for rule in rules:
        for name in sorted(rule.condition.names - names):
            raise ConfigError(
                f"{source}: rule {rule.name!r}: answers of this model have no {name}; they have "
                f"{listed(sorted(names))}. Rules for another model go into a file of their own: --rules FILE"
            )
        for label in sorted(rule.condition.labels - set(labels)) if labels else ():
            near = meant(label, labels) or f"; it knows {listed(list(labels))}"
            raise ConfigError(
                f"{source}: rule {rule.name!r}: this model has no label {label!r}{near}"
            )
