"""What follows from answers, fitted together: rules decide, the outbox keeps, couriers deliver.

answered() and happened() return when everything is on the disk, and never wait for anybody in the network. Nothing
that they are given names an input, and nothing that leaves does.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeveil.agent.forwarding.courier import Courier, Say
from edgeveil.agent.forwarding.outbox import Bound, Entry, Outbox
from edgeveil.agent.forwarding.posting import Poster
from edgeveil.agent.forwarding.publishing import Publisher
from edgeveil.agent.forwarding.running import run
from edgeveil.agent.rules.actions import PLACES, CommandAction, Forward, MqttAction
from edgeveil.agent.rules.facts import Fact, facts_of
from edgeveil.agent.rules.rule_file import Owned, Rule
from edgeveil.agent.rules.ruling import ID_BYTES, Alarm, Ruling
from edgeveil.shared.base.errors import EdgeveilError
from edgeveil.shared.base.json_text import readable
from edgeveil.shared.pages.text import plain

FORWARD = "forward"
ALARMS = Bound(1000, 1 << 20)  # of one rule
BATCH = 200  # results of one request
LAST_S = 0.5  # for deliveries under way when everything ends
QUIET_S = 60.0  # between two sentences about one lane's lost entries
TOLD = {"label", "score", "value", "anomalous"}  # a picture without boxes has nothing to forward
MOST_LABEL = 200  # characters of a forwarded label

Deliver = Callable[[Sequence[Entry]], None]


class Consequences:
    """Safe to share between threads. `name` is that of the command; close() it."""

    def __init__(self, owned: Owned, home: Path, name: str, say: Say) -> None:
        """Raise what hinders a delivery for good, as deliveries() does, and StateDamaged for a damaged outbox."""
        ways, forward = deliveries(owned), owned.forward
        bounds = dict.fromkeys(ways, ALARMS)
        if forward is not None:
            bounds[FORWARD] = Bound(forward.most_entries, forward.most_mb << 20)
        self._forwards, self._say, self._told = forward is not None, say, float("-inf")
        self._guard, self._ruling = threading.Lock(), Ruling(owned.rules)
        self._outbox = Outbox(home, name, bounds)
        self._give_up_strangers()
        expiry: dict[str, float | None] = {f"rule {rule.name}": rule.expires_s for rule in owned.rules}  # fmt: skip
        self._couriers = {
            lane: Courier(
                self._outbox, lane, way, say,
                batch=BATCH if lane == FORWARD else 1, expires_s=expiry.get(lane),
            )
            for lane, way in ways.items()
        }  # fmt: skip
        for each in self._couriers.values():
            each.start()

    def answered(self, answers: Sequence[Mapping[str, Any]], model: str) -> None:
        """`answers` as `--json` prints them, in their order; `model` is its digest."""
        now, at = time.monotonic(), time.time()
        with self._guard:
            alarms = [alarm for answer in answers for alarm in self._ruling.answer(answer, model, now=now, at=at)]  # fmt: skip
        facts = (fact for answer in answers for fact in facts_of(answer))
        told = [fact for fact in facts if TOLD & fact.keys()] if self._forwards else []
        self._keep(alarms, [_result(fact, model, at) for fact in told])

    def happened(self, fact: Fact, model: str, at_s: float) -> None:
        """An event of a counted video, at second `at_s` of it.

        It is forwarded as line/direction/label, or stopped/label, with a value of 1.
        """
        at = time.time()
        with self._guard:
            alarms = self._ruling.event(fact, model, now=at_s, at=at)
        where = [str(fact[name]) for name in ("line", "direction", "label") if name in fact]
        label = "/".join(["stopped", *where] if fact.get("stopped") else where)
        result = _result({"label": label, "value": 1.0}, model, at)
        self._keep(alarms, [result] if self._forwards else [])

    def close(self, wait_s: float = 0.0) -> None:
        """Wait until nothing waits, no longer than so; what still does is delivered at the next start."""
        end = time.monotonic() + wait_s
        while (left := self._waiting()) and time.monotonic() < end:
            time.sleep(0.05)
        for each in self._couriers.values():
            each.stop()
        end = max(end, time.monotonic() + LAST_S)
        for each in self._couriers.values():
            each.join(end - time.monotonic())
        self._outbox.close()
        if left:
            self._say(f"{left} wait to be delivered; they go out at the next start")

    def _waiting(self) -> int:
        return sum(self._outbox.waiting(lane) for lane in self._couriers)

    def _keep(self, alarms: Sequence[Alarm], results: Sequence[Mapping[str, Any]]) -> None:
        entries = [
            Entry(f"rule {each.rule}", each.id, each.at, _encoded(each.as_json()))
            for each in alarms
        ] + [Entry(FORWARD, each["id"], each["time"], _encoded(each)) for each in results]
        if not entries:
            return
        try:
            self._outbox.put(entries)
        except EdgeveilError as error:
            now = time.monotonic()
            if now - self._told >= QUIET_S:
                self._told = now
                self._say(f"{len(entries)} alarms or results are lost: {error.message}")
            return
        for lane in {each.lane for each in entries}:
            self._couriers[lane].wake()

    def _give_up_strangers(self) -> None:
        """Of rules that are no more."""
        left = self._outbox.strangers()
        if left:
            self._outbox.done(left, "given up")
            self._say(f"{len(left)} wait for rules that are no more, and are given up")


def deliveries(owned: Owned) -> dict[str, Deliver]:
    """By lane how it is delivered; touches nobody.

    Raises:
        StateDamaged, ConfigError: a token, password or certificate file cannot be used.
        ModuleNotFoundError: a rule publishes, and paho-mqtt is not installed.
    """
    ways = {f"rule {rule.name}": _way(rule, owned) for rule in owned.rules}
    if owned.forward is not None:
        ways[FORWARD] = _forwarding(owned.forward, owned)
    return ways


def _encoded(values: Mapping[str, Any]) -> bytes:
    return readable(values, tight=True).encode()


def _result(fact: Fact, model: str, at: float) -> dict[str, Any]:
    """All that is ever forwarded: label, score or value, time, random id, model."""
    made: dict[str, Any] = {"id": os.urandom(ID_BYTES).hex(), "time": round(at, 3), "model": model}
    label = fact.get("label")
    if label is None and "anomalous" in fact:
        label = "anomalous" if fact["anomalous"] else "normal"
    if label is not None:
        made["label"] = str(label)[:MOST_LABEL]
    return made | {name: fact[name] for name in ("score", "value") if name in fact}


def _way(rule: Rule, owned: Owned) -> Deliver:
    """How an alarm of this rule is delivered, one at a time."""
    action = rule.action
    if isinstance(action, CommandAction):
        return lambda entries: run(action, _values(entries[0]))
    if isinstance(action, MqttAction):
        publisher = Publisher(action, owned.beside)
        return lambda entries: publisher.publish(_values(entries[0]), entries[0].body)
    poster = Poster(action, owned.beside)
    return lambda entries: poster.post(entries[0].body)


def _forwarding(forward: Forward, owned: Owned) -> Deliver:
    poster = Poster(forward, owned.beside)

    def deliver(entries: Sequence[Entry]) -> None:
        poster.post(b'{"results":[' + b",".join(each.body for each in entries) + b"]}")

    return deliver


def _values(entry: Entry) -> dict[str, str]:
    """What a command and a topic may name: one line each, printable."""
    found = json.loads(entry.body)
    return {name: _text(found[name]) for name in PLACES if name in found}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain(value) if isinstance(value, str) else f"{value:.12g}" if isinstance(value, float) else str(value)  # fmt: skip
