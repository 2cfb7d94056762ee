"""Every command that prints what a file, a report, a peer or a plan says prints it harmlessly."""

import json
import logging
import random
import unicodedata
from dataclasses import replace

import look_bench
import pytest
import report_bench
import sqlalchemy as sa
from fakes_federation import plan_for
from reports_bench import a_record

from edgeveil.agent.cli.app import main as agent
from edgeveil.agent.home.log import PlainLines
from edgeveil.agent.reports.report import sign
from edgeveil.coordinator.records.records import Outcome, RunState
from edgeveil.coordinator.store import schema
from edgeveil.coordinator.store.store import Store

EVIL = "\x1b]0;x\x07\x1b[2J\x9b31m\u202eb\u2066\u200b\r\nerror: all is well"


def harmless(found):
    """What was written, after making sure that nothing in it acts and no line is somebody else's."""
    for text in (found.stdout, found.stderr):
        acting = {c for c in text if unicodedata.category(c)[0] == "C"} - {"\n"}
        assert not acting, text
        assert not any(line.startswith("error: all") for line in text.splitlines()), text
    assert found.returncode != 70, "a bug of ours"
    return found.stdout + found.stderr


# The device


@pytest.fixture
def device(tmp_path):
    return report_bench.trained_device(tmp_path)


def ask(device, *arguments):
    return look_bench.run(device.path, *arguments, check=False, program=agent)


def claimed(device, tmp_path, *path):
    """A signed report with a hostile text at a place of it."""
    made, file, _ = report_bench.report(device, tmp_path)
    target = made
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = EVIL
    if path != ("signature",):
        made = sign(made, device.home.identity())
    file.write_text(json.dumps(made))
    return file


@pytest.mark.parametrize(
    "path",
    [("agent",), ("guarantee", "epsilon_spent"), ("guarantee", EVIL), ("mechanism", EVIL), (EVIL,), ("identity", EVIL),
     ("mechanism", "segments"), ("integrity", "ledger_records"), ("signature",), ("dataset",), ("kind",)],
)  # fmt: skip
@pytest.mark.parametrize("how", [(), ("--json",)])
def test_a_hostile_report_is_only_read(device, tmp_path, path, how):
    found = ask(device, "verify", str(claimed(device, tmp_path, *path)), *how)
    assert found.returncode != 0
    said = harmless(found)
    if EVIL in path and not how:
        assert "\ufffd[2J" in said, "it is told, and can be read"


def test_a_sentence_about_a_report_has_an_end(device, tmp_path):
    made, file, _ = report_bench.report(device, tmp_path)
    made["guarantee"]["epsilon_spent"] = "9" * 1_000_000
    file.write_text(json.dumps(sign(made, device.home.identity())))
    assert len(harmless(ask(device, "verify", str(file)))) < 50_000


@pytest.mark.parametrize(
    "text",
    [
        '"a\\u001b[2Jb\\u202e\\nerror: all is well" = 1',
        'unit = "\\u001b[2J\\u202e\\nerror: all is well"',
        'tasks = [{id = "\\u001b[2J\\u202e\\nerror: all is well", version = "1"}]',
        "unit = [\x1b",
    ],
)
def test_a_hostile_policy_is_only_read(device, text):
    device.home.policy_path.write_text(text)
    for arguments in (["policy", "show"], ["policy", "show", "--json"], ["doctor"], ["doctor", "--json"]):  # fmt: skip
        harmless(ask(device, *arguments))


def test_names_of_folders_and_files_are_only_read(device, tmp_path):
    folder = tmp_path / f"x{EVIL.replace('/', '')}"
    (folder / "a.npz").mkdir(parents=True)
    history = tmp_path / "history\x1b[2J\n.json"
    history.write_text(f"[[{json.dumps(EVIL)}, 1, 2]]")
    for arguments in (
        ["doctor", "--data", str(folder)],
        ["budget", "plan", "--steps", "1", "--history", str(history)],
        ["verify", str(folder)],
        ["audit", "--data", str(folder)],
        ["audit", "--task", EVIL],
        ["budget", "--dataset", EVIL],
        ["join", f"@{folder}"],
        ["policy", "set", f"epsilon_max={EVIL}"],
    ):
        harmless(ask(device, *arguments))


def test_a_hostile_ledger_is_only_read(device):
    lines = device.ledger.read_bytes().splitlines(keepends=True)
    raw = json.loads(lines[1])
    raw["body"][EVIL] = 1
    for line in (json.dumps(raw).encode(), b'{"body":{"\x1b[2J', EVIL.encode()):
        device.ledger.write_bytes(lines[0] + line.replace(b"\n", b"") + b"\n" + lines[1])
        for arguments in (["verify"], ["budget"], ["budget", "--json"], ["doctor"]):
            harmless(ask(device, *arguments))


def test_the_log_keeps_a_message_on_its_line_and_a_traceback_under_it():
    def made(**fields):
        record = logging.makeLogRecord({"levelname": "WARNING", "msg": f"said {EVIL}", **fields})
        return PlainLines("%(levelname)s %(message)s").format(record)

    try:
        raise ValueError(EVIL)
    except ValueError as error:
        text = made(exc_info=(type(error), error, error.__traceback__))
    first, *rest = text.split("\n")
    assert first.startswith("WARNING said")
    assert all(line.startswith("    ") for line in rest)
    assert not {c for c in text if unicodedata.category(c)[0] == "C"} - {"\n"}


# The coordinator


@pytest.fixture
def home(tmp_path):
    """A database and an event log in which every text is hostile."""
    home = look_bench.initialised(tmp_path)
    rng = random.Random(1)
    with Store.open(home) as store:
        run = store.create_run(plan_for(4).model_dump_json(), "ab" * 32).run_id
        for number in (1, 2):
            record = a_record(
                number, [f"agent-{number}", f"cam{EVIL}"], rng=rng, drop=1.0, run_id=run
            )
            record = replace(
                record,
                dropped_reasons=dict.fromkeys(record.dropped, EVIL),
                metrics=record.metrics | {EVIL: 1.0},
                extra=record.extra
                | {
                    "detail": EVIL,
                    "not_asked": {f"cam{EVIL}": EVIL},
                    "dropped_stages": {f"cam{EVIL}": EVIL},
                },
                model_sha256=EVIL,
            )
            if number == 2:
                record = replace(record, outcome=Outcome.ABORTED, reason=EVIL)
            row = {"run_id": run, "round": number, "attempt": 1, "outcome": record.outcome.value}
            with store._database.writing() as connection:
                text = json.dumps(record.as_json())
                connection.execute(sa.insert(schema.rounds), [{**row, "record": text}])
        store.set_run_state(run, RunState.FAILED, EVIL)
    folder = home / "runs" / run
    folder.mkdir(parents=True)
    line = {"ts": 1.0, "level": EVIL, "event": "agent.drop", "run": run, "round": 1, "attempt": 1,
            "stage": EVIL, "agent": EVIL, "reason": EVIL}  # fmt: skip
    (folder / "events.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    return home, run


LOOKS = [
    ["rounds"], ["rounds", "--json"], ["rounds", "--csv"], ["show", "RUN", "1"], ["show", "RUN", "2", "--json"],
    ["report"], ["report", "--json"], ["compare", "RUN", "RUN"], ["compare", "RUN", "RUN", "--json"],
    ["privacy"], ["privacy", "--json"], ["status"], ["status", "--json"], ["top", "--once"], ["top", "--json"],
    ["tail", "--no-follow"], ["agents"], ["show", EVIL, "1"], ["invite", EVIL], ["agents", "revoke", EVIL],
]  # fmt: skip


@pytest.mark.parametrize("arguments", LOOKS, ids=lambda words: " ".join(words[:1]))
def test_a_hostile_database_is_only_read(home, arguments):
    folder, run = home
    words = [run if word == "RUN" else word for word in arguments]
    harmless(look_bench.run(folder, *words, check=False, columns=200))


def test_events_on_a_terminal_are_only_read(home):
    found = look_bench.run(home[0], "tail", "--no-follow", terminal=True, columns=200)
    assert "\x1b[2J" not in found.stdout
    assert "\x9b" not in found.stdout
    assert len(found.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        '"a\\u001b[2J\\u202e\\nerror: all is well" = 1',
        '[task]\nid = "\\u001b[2J\\u202e\\nerror: all is well"',
        '[task]\nid = "feature-head"\n[task.options]\nlabels = "\\u001b[2J\\u202e\\nerror: all is well"',
    ],
)
def test_a_hostile_plan_is_only_read(home, tmp_path, text):
    plan = tmp_path / "plan\x1b[2J.toml"
    plan.write_text(text)
    for arguments in (["run", str(plan)], ["doctor", "--plan", str(plan)]):
        harmless(look_bench.run(home[0], *arguments, check=False))


def test_hostile_files_of_the_operator_are_only_read(home, tmp_path):
    roster = tmp_path / "roster\x1b[2J.json"
    roster.write_text(json.dumps({"body": EVIL, "signature": "00", "names": {EVIL: EVIL}}))
    backup = tmp_path / "backup"
    backup.mkdir()
    (backup / "manifest.json").write_text(json.dumps({EVIL: EVIL}))
    for arguments in (
        ["roster", "import", str(roster)],
        ["roster", "sign", str(roster), "--yes"],
        ["restore", str(backup)],
    ):
        harmless(look_bench.run(home[0], *arguments, check=False))
