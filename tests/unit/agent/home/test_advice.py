"""Whoever reads a refusal reads which command helps, and that command exists."""

import re
import sys

import pytest
import typer

from edgeveil.agent.cli import app as cli
from edgeveil.agent.cli.policy_commands import prepare
from edgeveil.agent.home.advice import ADVICE, advised
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.record_policy import DataPolicy
from edgeveil.shared.base.errors import ConfigError, PolicyRefusal, RefusalCode

VALUES = {"E": "9", "N": "5", "S": "0.4", "Q": "0.5", "C": "11", "R": "3", "D": "1e-4"}
COMMAND = re.compile(r"agent (?:policy set [a-z_.]+=\S+(?: --yes)?|[a-z]+(?: [a-z]+)?(?: --\S+)?)")


def commands():
    for code, advice in ADVICE.items():
        for command in COMMAND.findall(advice.sentence):
            yield pytest.param(command, id=f"{code}: {command}")


def test_every_refusal_has_advice_that_ends_with_a_command_of_this_device():
    assert set(ADVICE) == set(RefusalCode)
    for code in RefusalCode:
        told = advised(code, "the reason")
        assert told.startswith("the reason; ")
        assert told.endswith(ADVICE[code].command)
        assert ADVICE[code].command.startswith("agent ")


@pytest.mark.parametrize("command", commands())
def test_every_command_that_is_advised_exists(command):
    found = typer.main.get_command(cli.app)
    found.list_commands(None)  # their modules are imported when they are named
    _, *words = command.split()
    while words and words[0] in getattr(found, "commands", {}):
        found = found.commands[words.pop(0)]
    if hasattr(found, "commands"):
        assert found.invoke_without_command, command
        assert not words, command
    for option in (word for word in words if word.startswith("--")):
        assert any(option in parameter.opts for parameter in found.params), command


@pytest.mark.parametrize("code", [code for code in RefusalCode if "=" in ADVICE[code].command])
def test_every_value_that_is_advised_can_be_set(tmp_path, code):
    home = AgentHome(tmp_path / "home")
    data = DataPolicy(height=28, width=28, labels=("one",))
    home.policy_path.write_text(Policy(data=data).to_toml(), encoding="utf-8")
    assignment = re.search(r"([a-z_.]+|secagg\.KEY)=(\S+)", ADVICE[code].command)
    key, value = assignment[1], VALUES.get(assignment[2], assignment[2].strip("'"))
    if key == "secagg.KEY":
        key, value = "secagg.n_min", "4"
    if key == "dp_required":  # it means the coordinator that was joined, and nobody was
        with pytest.raises(ConfigError, match="without_noise_for"):
            prepare(home.path, [f"{key}={value}"])
        return
    prepare(home.path, [f"{key}={value}"])


def test_a_command_that_ends_with_a_refusal_says_what_helps(monkeypatch, capfd):
    def refuse():
        raise PolicyRefusal(RefusalCode.SELF_TEST_FAILED, "the noise is not there")

    monkeypatch.setattr(cli, "app", refuse)
    monkeypatch.setattr(sys, "argv", ["agent"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 77
    said = " ".join(capfd.readouterr().err.split())
    assert said.endswith("passes: agent audit")
