"""Commands of rules: values are arguments and environment, whatever they say; no shell, an end."""

import json
import sys
import time

import pytest

from edgeveil.agent.forwarding.publishing import level
from edgeveil.agent.forwarding.running import run
from edgeveil.agent.forwarding.trusted import Refused, Undelivered
from edgeveil.agent.rules.actions import CommandAction, MqttAction, filled
from edgeveil.shared.pages.text import plain

HOSTILE = [
    "fall\nrm -rf /", "'; touch owned; '", '"$(touch owned)"', "`touch owned`", "$(touch owned)", "--help", "-rf",
    "a" * 10_000, "\x1b[31mred", "right\u202eleft", "zero\u200bwidth", "../../etc/passwd", "+/#", "$SYS/x", "a/b", "{label}",
    "{score}", "", " ", "é中文", "\udcff", "%s%n", "\x7f", "a;b|c&d>e",
]  # fmt: skip
WRITE = """#!{python}
import json, os, sys
values = {{"argv": sys.argv[1:], "env": {{k: v for k, v in os.environ.items()}}}}
open({out!r}, "w").write(json.dumps(values))
"""


@pytest.fixture
def program(tmp_path):
    """A program that writes down how it was called, and a function that reads that."""
    path, out = tmp_path / "program", tmp_path / "called.json"
    path.write_text(WRITE.format(python=sys.executable, out=str(out)))
    path.chmod(0o700)
    return path, lambda: json.loads(out.read_text())


@pytest.mark.parametrize("label", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_a_hostile_label_is_one_argument_and_nothing_else(program, tmp_path, label):
    path, called = program
    shown = plain(label)
    action = CommandAction(run=(str(path), "--label={label}", "--", "{label}", "end"))
    run(action, {"label": shown, "score": "0.9"})
    assert called()["argv"] == [f"--label={shown}", "--", shown, "end"]
    assert called()["env"]["EDGEVEIL_LABEL"] == shown
    assert len(shown) <= 300
    assert sorted(each.name for each in tmp_path.iterdir()) == ["called.json", "program"]


@pytest.mark.parametrize("label", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_a_hostile_label_is_a_plain_part_of_one_level_of_a_topic(label):
    topic = filled("street/{label}/alarm", {"label": level(label)})
    assert topic.count("/") == 2
    assert not set("+#\0 ") & set(topic)
    assert topic.isascii()
    assert topic.isprintable()
    assert len(topic) < 90
    assert "//" not in topic


def test_a_topic_that_begins_with_a_value_is_none_of_the_brokers_own():
    action = MqttAction(broker="127.0.0.1:1883", topic="{label}", tls=False)
    assert filled(action.topic, {"label": level("$SYS/broker")})[0] != "$"


def test_the_environment_holds_the_values_and_little_else(program, monkeypatch):
    path, called = program
    monkeypatch.setenv("EDGEVEIL_HOME", "/secret")
    monkeypatch.setenv("API_TOKEN", "secret")
    run(CommandAction(run=(str(path),)), {"label": "fall", "score": "0.93", "per_minute": "3"})
    found = called()["env"]
    assert {name for name in found if name.startswith("EDGEVEIL")} == {"EDGEVEIL_LABEL", "EDGEVEIL_SCORE", "EDGEVEIL_PER_MINUTE"}  # fmt: skip
    assert "secret" not in str(found)


def test_a_command_that_does_not_end_is_ended(tmp_path):
    path = tmp_path / "hang"
    path.write_text("#!/bin/sh\nsleep 100\n")
    path.chmod(0o700)
    began = time.monotonic()
    with pytest.raises(Refused, match=r"ended after 0\.3 s"):
        run(CommandAction(run=(str(path),), timeout_s=0.3), {})
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(("code", "kind"), [(1, Refused), (75, Undelivered)])
def test_only_a_command_that_asks_for_it_is_run_again(tmp_path, code, kind):
    path = tmp_path / "fails"
    path.write_text(f"#!/bin/sh\nexit {code}\n")
    path.chmod(0o700)
    with pytest.raises(kind, match=f"ended with {code}"):
        run(CommandAction(run=(str(path),)), {})


def test_a_program_that_is_not_there_is_told_and_tried_later():
    with pytest.raises(Undelivered, match="could not be started"):
        run(CommandAction(run=("/nowhere/siren",)), {})
