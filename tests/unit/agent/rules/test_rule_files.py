"""rules.toml: what is read, and what is refused with the key and the fix."""

import os
from pathlib import Path

import pytest

from edgeveil.agent.rules import rule_file
from edgeveil.shared.base.errors import ConfigError, StateDamaged

FALL = """
[[rule]]
name = "fall"
when = "score > 0.9 and label == 'fall'"
"""


def read(folder, text, mode=0o600):
    path = folder / "rules.toml"
    path.write_text(text)
    path.chmod(mode)
    return rule_file.read_rules(path)


def test_the_three_actions_and_forwarding_are_read(tmp_path):
    found = read(tmp_path, FALL + """
for = "3 of 5"
cooldown_s = 60
webhook = "https://alarm.example/hook"
[[rule]]
name = "order"
when = "anomalous"
mqtt = { broker = "broker.example:8883", topic = "orders/{label}", ca_file = "ca.pem" }
[[rule]]
name = "siren"
when = "wrong_way"
command = ["/usr/bin/logger", "--tag=gate", "--", "{label}"]
[forward]
url = "https://centre.example:8490/v1/results"
token_file = "centre.token"
""")  # fmt: skip
    fall, order, siren = found.rules
    assert (fall.needed, fall.window, fall.cooldown_s, fall.action.url) == (3, 5, 60, "https://alarm.example/hook")  # fmt: skip
    assert (order.action.host, order.action.port, order.action.tls) == ("broker.example", 8883, True)  # fmt: skip
    assert siren.action.run[0] == "/usr/bin/logger"
    assert found.beside(found.forward.token_file) == tmp_path / "centre.token"


@pytest.mark.parametrize("action", [
    'webhook = "http://alarm.example/"',
    'webhook = "https://user:secret@alarm.example/"',
    'webhook = "ftp://alarm.example/"',
    'webhook = "https:///x"',
    'webhook = "https://alarm.example:99999/"',
    'webhook = { url = "https://alarm.example/", pin = "ab" }',
    'webhook = { url = "http://127.0.0.1/", ca_file = "ca.pem" }',
    'webhook = { uri = "https://alarm.example/" }',
    'mqtt = { broker = "broker.example", topic = "a" }',
    'mqtt = { broker = "broker.example:1883", topic = "a", tls = false }',
    'mqtt = { broker = "broker.example:8883", topic = "a/#" }',
    'mqtt = { broker = "broker.example:8883", topic = "a/+/b" }',
    'mqtt = { broker = "broker.example:8883", topic = "$SYS/a" }',
    'mqtt = { broker = "broker.example:8883", topic = "a/{lable}" }',
    'command = "rm -rf /"',
    'command = ["siren"]',
    "command = []",
    'command = ["/bin/sh", "-c", "echo {label}"]',
    'command = ["/bin/sh", "-c", "--", "{label}"]',
    'command = ["/usr/bin/env", "bash", "-c", "--", "{label}"]',
    'command = ["/usr/bin/ssh", "host", "--", "{label}"]',
    'command = ["/usr/bin/env", "--", "{label}"]',
    'command = ["/usr/bin/timeout", "5", "--", "{label}"]',
    'command = ["/usr/bin/strange", "-S", "bash -c", "--", "{label}"]',
    'command = ["/usr/bin/sed", "--expression={label}", "/etc/hostname"]',
    'command = ["/usr/bin/python3.11", "-c", "--", "{label}"]',
    'command = ["/usr/bin/logger", "{label}"]',
    'command = ["/usr/bin/logger", "--", "a {label}"]',
    'command = ["/usr/bin/{label}"]',
    'command = ["/usr/bin/logger", "--", "{labl}"]',
    'webhook = "https://a.example/"\ncommand = ["/bin/true"]',
    "",
    'webhook = "https://a.example/"\nfor = "5 of 3"',
    'webhook = "https://a.example/"\nfor = "3"',
    'webhook = "https://a.example/"\ncooldown_s = nan',
    'webhook = "https://a.example/"\nexpires_s = 0',
    'webhook = "https://a.example/"\ncooldown = 3',
    'webhook = "https://a.example/"\nname2 = "x"',
])  # fmt: skip
def test_a_wrong_rule_is_refused_with_file_and_key(tmp_path, action):
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, FALL + action)
    assert str(refused.value).startswith(f"{tmp_path}/rules.toml: rule 'fall': ")


def test_what_a_value_says_of_rules_is_left_as_it_is(tmp_path):
    with pytest.raises(ConfigError, match=r"rule 'fall': .*x: rule\.99\.y"):
        read(tmp_path, FALL + 'webhook = "https://a.example/"\ncooldown_s = "x: rule.99.y"')


def test_a_rule_whose_name_is_none_is_called_by_its_place(tmp_path):
    with pytest.raises(ConfigError, match=r"rules.toml: rule.0.name: "):
        read(tmp_path, FALL.replace('"fall"', '"Fall it"') + 'command = ["/bin/true"]')


def test_a_command_that_starts_a_shell_may_stand_alone(tmp_path):
    found = read(tmp_path, FALL + """command = ["/bin/sh", "-c", 'echo "$EDGEVEIL_LABEL"']""")
    assert found.rules[0].action.run[1] == "-c"


def test_a_wrong_condition_is_told_with_what_was_meant(tmp_path):
    with pytest.raises(ConfigError, match='did you mean "label"'):
        read(tmp_path, FALL.replace("label ==", "lable ==") + 'webhook = "https://a.example/"')


@pytest.mark.parametrize("text", ["", "rule = 3", "[[rule]]", "\0", "[a", "a = " + "[" * 5000, FALL * 2])  # fmt: skip
def test_a_file_that_makes_no_sense_is_refused(tmp_path, text):
    with pytest.raises(ConfigError):
        read(tmp_path, text)


def test_two_rules_of_one_name_are_refused(tmp_path):
    one = FALL + 'webhook = "https://a.example/"\n'
    with pytest.raises(ConfigError, match="two rules have the name 'fall'"):
        read(tmp_path, one + one)


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o602])
def test_a_file_that_others_may_read_or_write_runs_nothing(tmp_path, mode):
    with pytest.raises(StateDamaged, match=r"rules file is readable by others.*chmod 600"):
        read(tmp_path, FALL + 'command = ["/bin/true"]', mode)


def test_neither_a_link_nor_a_pipe_nor_a_folder_is_read(tmp_path):
    read(tmp_path, FALL + 'command = ["/bin/true"]')
    (tmp_path / "home").mkdir()
    (tmp_path / "home/rules.toml").symlink_to(tmp_path / "rules.toml")
    with pytest.raises(StateDamaged):
        rule_file.owners_rules(tmp_path / "home", None)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("pipe", "home"):
        with pytest.raises(StateDamaged):
            rule_file.owners_rules(tmp_path, tmp_path / name)


def test_a_file_that_was_named_and_is_not_there_is_a_mistake_of_the_command_line(tmp_path):
    with pytest.raises(ConfigError, match="gone: this file does not exist"):
        rule_file.owners_rules(tmp_path, tmp_path / "gone")


def test_without_a_file_nothing_follows(tmp_path):
    assert rule_file.owners_rules(tmp_path, None) is None


def test_the_samples_of_the_page_are_read(tmp_path):
    page = (Path(__file__).resolve().parents[4] / "docs" / "rules.md").read_text()
    rules, forward = (block.split("```")[0] for block in page.split("```toml\n")[1:])
    found = read(tmp_path, rules + forward)
    assert [rule.name for rule in found.rules] == ["fall", "order", "wrong-way"]
    assert found.rules[0].cooldown_s == 300
    assert found.forward.most_mb == 50
