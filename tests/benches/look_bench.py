"""Homes of coordinators whose rounds never happened, and their commands run as a user would."""

import io
import json
import os
import random
import re
import subprocess
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import sqlalchemy as sa
from fakes_federation import plan_for
from reports_bench import a_record
from terminal_bench import shown_on_a_terminal

from edgeveil.coordinator.cli.app import main
from edgeveil.coordinator.cli.setup import initialise
from edgeveil.coordinator.records.records import RunState
from edgeveil.coordinator.store import schema
from edgeveil.coordinator.store.migrations.versions.v0003_totals import CHARGED
from edgeveil.shared.terminal import console as terminal_console

COORDINATOR = Path(sys.executable).parent / "coordinator"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def initialised(folder):
    home = folder / "coordinator"
    initialise(home, folder / "federation", url="https://127.0.0.1:9", listen="127.0.0.1:9", hosts=(), passphrase=None)  # fmt: skip
    return home


def fill(store, rounds, *, abort=0.0, state=RunState.FINISHED, agents=4):
    """One run with `rounds` attempts; its id."""
    plan = plan_for(agents, rounds__count=max(1, rounds))
    run = store.create_run(plan.model_dump_json(), "ab" * 32)
    store.set_run_state(run.run_id, state)
    rng = random.Random(1)
    names = [f"agent-{number}" for number in range(1, agents + 1)]
    records = [
        a_record(number, names, rng=rng, drop=0.2, abort=abort, run_id=run.run_id)
        for number in range(1, min(rounds, 1000) + 1)
    ]
    texts = [json.dumps(record.as_json() | {"round": "NUMBER"}) for record in records]
    rows = []
    for number in range(1, rounds + 1):  # a long run repeats its first thousand rounds
        place = (number - 1) % len(records)
        text = texts[place].replace('"NUMBER"', str(number))
        key = {"run_id": run.run_id, "round": number, "attempt": 1}
        rows.append(key | {"outcome": records[place].outcome.value, "record": text})
    with store._database.writing() as connection:
        connection.execute(sa.insert(schema.rounds), rows)
        connection.execute(sa.delete(schema.charges))
        connection.exec_driver_sql(CHARGED)
    return run.run_id


def run(home, *arguments, check=True, columns=80, terminal=False, program=main):
    """The command within this process: its exit code and what it wrote to which stream."""
    out, err = io.StringIO(), io.StringIO()
    words = [*map(str, arguments), "--home", str(home)]
    mask = os.umask(0o022)  # the command sets its own, which must not reach the next test
    with ExitStack() as around:
        around.callback(os.umask, mask)
        around.enter_context(redirect_stdout(out))
        around.enter_context(redirect_stderr(err))
        for console in (terminal_console.stdout, terminal_console.stderr):
            around.enter_context(patch.object(console, "_width", columns))
            around.enter_context(patch.object(console, "_force_terminal", terminal))
            around.enter_context(patch.object(console, "is_interactive", terminal))
        around.enter_context(
            patch.object(sys, "argv", [program.__module__.partition(".")[0], *words])
        )
        try:
            program()
        except SystemExit as ended:
            code = ended.code or 0
    assert not check or code == 0, err.getvalue()
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def on_a_terminal(home, *arguments, columns=80, **environment):
    """What the command writes to a terminal of that width."""
    command = [COORDINATOR, *map(str, arguments), "--home", str(home)]
    return shown_on_a_terminal(command, columns=columns, **environment)
