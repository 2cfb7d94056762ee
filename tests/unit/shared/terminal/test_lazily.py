"""Commands whose modules are imported when they are named: nothing is missing, and nothing comes too early."""

import json
import subprocess
import sys

from typer.testing import CliRunner

from edgeveil.agent.cli.app import Commands, app

ALL = """
import json, sys
from edgeveil.agent.cli.app import app
try:
    app(sys.argv[1:])
except SystemExit:
    print()
    print(json.dumps(list(sys.modules)))
"""


def imported(*words):
    found = subprocess.run([sys.executable, "-P", "-c", ALL, *words], capture_output=True, text=True, check=True)  # fmt: skip
    return set(json.loads(found.stdout.splitlines()[-1]))


def test_a_command_brings_its_own_module_alone_and_the_help_of_all_brings_nothing_heavy():
    alone, everything = imported("predict", "--help"), imported("--help")
    assert {"edgeveil.agent.cli.models"} <= alone
    assert not alone & {"edgeveil.agent.cli.privacy", "edgeveil.agent.cli.data"}
    assert {place.partition(":")[0] for place in Commands.places.values()} <= everything
    assert not everything & {"torch", "opacus", "flwr", "alembic", "PIL", "numpy"}


def test_every_place_holds_a_command_and_a_slip_is_told_what_was_meant():
    told = CliRunner().invoke(app, ["--help"]).output
    assert all(f"  {name} " in told for name in Commands.places)
    slipped = CliRunner().invoke(app, ["predicct"])
    assert slipped.exit_code == 2
    assert "Did you mean 'predict'?" in slipped.output
