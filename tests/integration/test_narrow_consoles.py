"""Consoles that are not UTF-8 get a readable answer from every command, in real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from look_bench import fill, initialised

from edgeveil.coordinator.store.store import Store

BIN = Path(sys.executable).parent
# Every command's --help, one after another in one process: what begins 80 of them takes minutes.
HELP = """
import contextlib, sys, typer
from edgeveil.{role}.cli import app as cli
def paths(command, before):
    yield before
    for name, child in getattr(command, "commands", {{}}).items():
        yield from paths(child, [*before, name])
found = list(paths(typer.main.get_command(cli.app), ["{role}"]))
for path in found:
    sys.argv = [*path, "--help"]
    try:
        cli.main()
    except SystemExit as ended:
        if ended.code:
            sys.exit(ended.code)
sys.stderr.write(f"commands:{{len(found)}}\\n")
"""
CONSOLES = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "gbk": {"PYTHONIOENCODING": "gbk"},
    "C": {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}
ENCODINGS = {"C": "ascii"}
# The narrowest, and one of two bytes; that which lies between is played with the long tests.
EACH = [
    pytest.param(name, marks=[] if name in {"C", "gbk"} else pytest.mark.long) for name in CONSOLES
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = initialised(tmp_path_factory.mktemp("console"))
    with Store.open(home) as store:
        fill(store, 3)
    return home


def shown(console, *command, code=0):
    """What the command wrote, read as that console reads it; it must not be a bug of ours."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    kept = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "COLUMNS": "120"}
    done = subprocess.run(
        [*map(str, command)], env=variables | kept | CONSOLES[console], capture_output=True
    )
    encoding = ENCODINGS.get(console, console)
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert done.returncode == code, (out, err)
    return out, err


@pytest.mark.parametrize("console", EACH)
@pytest.mark.parametrize("role", ["coordinator", "agent"])
def test_the_help_of_every_command_can_be_read(role, console):
    out, err = shown(console, sys.executable, "-c", HELP.format(role=role))
    assert int(err.rpartition("commands:")[2]) == out.count("Usage: ")
    if console in {"ascii", "C"} and role == "coordinator":
        assert "NAME..." in out


@pytest.mark.parametrize("console", EACH)
def test_tables_findings_and_reports_can_be_read(home, console):
    coordinator = BIN / "coordinator"
    out, _ = shown(console, coordinator, "rounds", "--home", home)
    assert "dropped" in out
    assert "kB" in out
    out, _ = shown(console, coordinator, "privacy", "--home", home)
    assert "epsilon planned" in out or "ε planned" in out
    out, _ = shown(console, coordinator, "status", "--home", home)
    assert "not running" in out
    out, _ = shown(console, coordinator, "report", "--json", "--home", home)
    assert json.loads(out)["rounds_committed"] == 3
    out, _ = shown(console, BIN / "agent", "doctor", "--home", home.parent / "none", code=69)
    assert "Findings" in out


def test_what_a_console_lacks_is_an_escape_in_json_and_a_spelling_elsewhere(home, tmp_path):
    _, err = shown("ascii", BIN / "coordinator", "rounds", "größe", "--home", home, code=2)
    assert "no run 'grosse' is known" in err
    plan = tmp_path / "plan.toml"
    command = (BIN / "coordinator", "plan", "new", "--labels", "größe,猫", "--agents", "3")
    out, _ = shown("ascii", *command, "-o", plan, "--json")
    assert json.loads(out)["labels"] == ["größe", "猫"]
    out, _ = shown("ascii", *command, "-o", plan, "--force")
    assert "costs each device epsilon 1.9" in out
