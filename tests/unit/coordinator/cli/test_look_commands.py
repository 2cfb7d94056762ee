"""The commands that only look, run as a user would, on a home whose rounds never happened."""

import csv
import io
import json
import re
import subprocess
import time
from importlib import metadata

import pytest
from look_bench import COORDINATOR, ESCAPE, fill, initialised, on_a_terminal, run
from rich.console import Console

from edgeveil.coordinator.cli.follow import Display
from edgeveil.coordinator.cli.top import Picture, draw
from edgeveil.coordinator.records.records import RunState
from edgeveil.coordinator.reports.facts import natural
from edgeveil.coordinator.serving.admin import AdminServer
from edgeveil.coordinator.serving.admin_client import SOCKET
from edgeveil.coordinator.store.store import Store
from edgeveil.coordinator.watching.live import Live, Now
from edgeveil.shared.events.log import Event, EventLine, EventLog
from edgeveil.shared.terminal.door import Door


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = initialised(tmp_path_factory.mktemp("look"))
    with Store.open(home) as store:
        first = fill(store, 5, abort=0.4)
        second = fill(store, 4)
    folder = home / "runs" / second
    folder.mkdir(parents=True)
    with EventLog(folder / "events.jsonl") as log:
        log.emit(Event.ROUND_START, run=second, round=2, attempt=1)
        log.emit(Event.AGENT_REPLY, run=second, round=2, attempt=1, stage="round", agent="agent-1", dur_ms=1234, size=2048)  # fmt: skip
        log.emit(Event.AGENT_DROP, level="warning", run=second, round=2, attempt=1, stage="share", agent="agent-2", reason="\x1b]0;owned\x07")  # fmt: skip
    return home, first, second


def test_a_comparison_on_a_terminal_breaks_no_hash_and_elsewhere_it_is_whole(home):
    home, first, second = home
    shown = run(home, "compare", first, second, terminal=True, columns=100).stdout
    (line,) = [line for line in ESCAPE.sub("", shown).splitlines() if "model_sha256" in line]
    assert len(re.findall(r"\b[0-9a-f]{16}…", line)) == 2
    whole = run(home, "compare", first, second, columns=200).stdout
    assert len(re.findall(r"\b[0-9a-f]{64}\b", whole)) == 2


def test_rounds_can_be_cut_to_the_newest_and_to_the_failed(home):
    folder, first, second = home
    rows = json.loads(run(folder, "rounds", "--json").stdout)
    assert [row["run"] for row in rows] == [first] * 5 + [second] * 4
    newest = json.loads(run(folder, "rounds", "--last", 2, "--json").stdout)
    assert [(row["run"], row["round"]) for row in newest] == [(second, 3), (second, 4)]
    failed = json.loads(run(folder, "rounds", "--failed", "--json").stdout)
    assert failed == [row for row in rows if row["outcome"] == "aborted"] != []
    last_failed = json.loads(run(folder, "rounds", first, "--failed", "--last", 1, "--json").stdout)
    assert last_failed == failed[-1:]


def test_csv_has_a_fixed_header_and_one_line_per_attempt(home):
    folder, first, _ = home
    text = run(folder, "rounds", first, "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["round"]) for row in rows] == [1, 2, 3, 4, 5]
    assert text.splitlines()[0].startswith("run,round,attempt,outcome,reason,finished,selected")
    assert rows[0]["selected"] == "agent-1 agent-2 agent-3 agent-4"
    assert run(folder, "rounds", "--csv", "--json", check=False).returncode == 2


def test_one_round_is_shown_with_every_agent_stage_and_time(home):
    folder, _, second = home
    shown = run(folder, "show", second, 2, columns=120).stdout
    for text in ("agent-1", "agent-4", "stage train", "1.23 – – – –", "2.0 kB", "accuracy"):
        assert text in shown, text
    found = json.loads(run(folder, "show", second, 2, "--json").stdout)
    assert [record["round"] for record in found["attempts"]] == [2]
    assert [line["event"] for line in found["events"]] == ["round.start", "agent.reply", "agent.drop"]  # fmt: skip
    missing = run(folder, "show", second, 99, check=False)
    assert missing.returncode == 2
    assert "no finished attempt of round 99" in missing.stderr


def test_two_runs_are_compared_and_differences_marked(home):
    folder, first, second = home
    shown = run(folder, "compare", first, second, columns=160).stdout
    planned = next(line for line in shown.splitlines() if "rounds_planned" in line)
    assert planned.split() == ["rounds_planned", "≠", "5", "4"]
    same = next(line for line in shown.splitlines() if "delta" in line)
    assert "≠" not in same
    found = json.loads(run(folder, "compare", first, second, "--json").stdout)
    assert found["rounds_planned"] == [5, 4]


def test_the_log_is_text_on_a_terminal_and_json_lines_in_a_pipe(home):
    folder, _, _ = home
    lines = [json.loads(line) for line in run(folder, "tail", "--no-follow").stdout.splitlines()]
    assert [line["event"] for line in lines] == ["round.start", "agent.reply", "agent.drop"]
    assert lines[-1]["reason"] == "unlisted"
    shown = on_a_terminal(folder, "tail", "--no-follow")
    assert "agent.drop" in shown
    assert "{" not in shown
    assert "owned" not in shown
    assert len(run(folder, "tail", "-n", 1, "--no-follow").stdout.splitlines()) == 1


def test_no_color_means_none_and_a_pipe_has_none_anyway(home):
    folder, first, _ = home
    coloured = on_a_terminal(folder, "rounds", first)
    assert "\x1b[32m" in coloured
    plain = on_a_terminal(folder, "rounds", first, NO_COLOR="1")
    assert not re.search(r"\x1b\[3[0-9]m", plain)
    assert "\x1b" not in run(folder, "rounds", first).stdout


@pytest.mark.parametrize("columns", [40, 60, 200])
@pytest.mark.parametrize("command", ["rounds", "top --once"])
def test_narrow_terminals_get_fewer_columns_and_whole_words(home, command, columns):
    if columns == 40:
        shown = on_a_terminal(home[0], *command.split(), columns=columns)
    else:
        shown = run(home[0], *command.split(), columns=columns, terminal=True).stdout
    shown = ESCAPE.sub("", shown)
    heading = next(line for line in shown.splitlines() if "outcome" in line)
    assert len(heading.rstrip()) <= columns
    assert "round" in heading
    missed = "bytes" if command == "rounds" else "accuracy"
    assert (missed in heading) == (columns == 200 or (command != "rounds" and columns > 64))


def test_a_closed_pipe_ends_a_command_quietly(home):
    command = f"{COORDINATOR} rounds --json --home {home[0]} | head -1"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert found.stdout == "[\n"
    assert found.stderr == ""


def test_the_page_of_a_run_is_written_in_the_language_asked_for(home, tmp_path):
    folder, first, second = home
    target = tmp_path / "run.html"
    run(folder, "report", "--html", target)
    assert second in target.read_text()
    assert target.stat().st_mode & 0o077 == 0
    found = json.loads(run(folder, "report", first, "--html", target, "--lang", "zh", "--json").stdout)  # fmt: skip
    assert found == {"run": first, "html": str(target)}
    assert "混淆矩阵" in target.read_text()
    nowhere = run(folder, "report", "--html", tmp_path / "no" / "x.html", check=False)
    assert nowhere.returncode == 2


def test_the_glance_works_without_a_running_coordinator(home):
    shown = run(home[0], "top", "--once").stdout
    assert "not running" in shown
    assert "4 of 4" in shown
    found = json.loads(run(home[0], "top", "--json").stdout)
    assert found["epsilon_charged"]["agent-1"] > 0


def test_a_home_without_a_run_says_what_to_do(tmp_path):
    home = initialised(tmp_path)
    assert "no run yet" in run(home, "top").stdout
    assert "coordinator run" in run(home, "rounds").stderr
    assert run(home, "report", "--html", tmp_path / "x.html", check=False).returncode == 2
    assert run(home, "tail", "--no-follow").stdout == ""


@pytest.mark.parametrize("look", ["rounds", "report", "privacy"])
def test_nothing_yet_is_no_mistake_for_any_look(tmp_path, look):
    home = initialised(tmp_path)
    found = run(home, look)
    assert (found.returncode, found.stdout) == (0, "")
    assert "no run yet; start one with: coordinator run" in found.stderr
    assert json.loads(run(home, look, "--json").stdout) in ([], None)
    assert run(home, look, "run-of-somebody-else", check=False).returncode == 2


def test_status_says_what_has_finished_and_how_far_a_failed_run_came(home, tmp_path):
    folder, _, second = home
    assert f"last run {second}: finished, 4 of 4 rounds committed" in run(folder, "status").stdout
    other = initialised(tmp_path)
    with Store.open(other) as store:
        failed = fill(store, 3, state=RunState.RUNNING)
        store.set_run_state(failed, RunState.FAILED, "3 × refused:VERSION")
    said = run(other, "status").stdout
    assert f"{failed}: failed, 3 of 3 rounds committed (3 × refused:VERSION)" in said
    assert json.loads(run(other, "status", "--json").stdout)["last_run"]["state"] == "failed"


@pytest.mark.parametrize("program", ["coordinator", "agent"])
def test_both_programs_say_their_version(program):
    command = [COORDINATOR.with_name(program), "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == f"edgeveil {metadata.version('edgeveil')}\n"


@pytest.mark.parametrize("rounds", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_any_look_at_very_many_rounds_takes_less_than_a_second(tmp_path, rounds):
    home = initialised(tmp_path)
    with Store.open(home) as store:
        long, short = fill(store, rounds, abort=0.002), fill(store, 50)
    folder = home / "runs" / long
    folder.mkdir(parents=True)
    line = '{"ts":1.5,"level":"info","event":"agent.reply","run":"%s","round":%d,"attempt":1,"agent":"agent-1"}\n'
    for number in range(1, 10):  # the log at its full size, but for the file being written
        lines = (line % (long, 900_000 - 80_000 * number + place) for place in range(80_000))
        (folder / f"events.jsonl.{number}").write_text("".join(lines))
    commands = {
        f"rounds {long} --last 20": str(rounds),
        f"rounds {long} --failed --last 20": "COHORT_TOO_SMALL",
        "rounds": short,
        f"show {long} {rounds // 2}": "agent-4",
        f"show {long} {rounds - 1} --json": f'"round": {rounds - 1}',
        f"compare {long} {short}": "rounds_committed",
        f"tail {long} --no-follow -n 20": "agent.reply",
        f"report {long}": f"{rounds} committed",
        "status --json": "finished",
        "top --json": "epsilon_charged",
    }
    run(home, "rounds", long, "--last", 1)  # what is imported once is not counted
    for command, expected in commands.items():
        started = time.process_time()
        shown = run(home, *command.split(), columns=200)
        took = time.process_time() - started
        assert expected in shown.stdout, command
        assert took < 1, (command, took)
    assert f"{rounds} older ones are not shown" in run(home, "rounds").stderr


def test_agents_are_sorted_by_their_numbers():
    names = ["agent-10", "cam", "agent-2", "agent-1"]
    assert sorted(names, key=natural) == ["agent-1", "agent-2", "agent-10", "cam"]


def test_the_live_state_follows_an_attempt():
    live = Live()

    def say(event, **fields):
        live.take(EventLine(10.0, "info", event.value, run="run-1", round=3, attempt=2, **fields))

    say(Event.ROUND_WAIT, reason="1-of-3-agents")
    assert live.now().waits_for == "1-of-3-agents"
    say(Event.ROUND_START)
    for agent in ("a", "b", "c"):
        say(Event.AGENT_SELECT, agent=agent)
    say(Event.STAGE_START, stage="round")
    say(Event.AGENT_REPLY, stage="round", agent="a")
    say(Event.AGENT_DROP, stage="round", agent="b", reason="deadline")
    now = live.now()
    assert (now.stage, now.parts, now.answered, now.taking_part, now.waits_for) == (
        "round", {"a": "answered", "b": "deadline", "c": "waiting"}, 1, 2, "",
    )  # fmt: skip
    say(Event.STAGE_START, stage="share")
    assert live.now().parts == {"a": "waiting", "b": "deadline", "c": "waiting"}
    say(Event.ROUND_COMMIT)
    assert live.now().stage == "committed"
    assert Now.from_json(json.loads(json.dumps(live.now().as_json()))) == live.now()
    say(Event.RUN_FINISH)
    assert (live.now().run, live.now().parts) == ("", {})


def test_invitations_in_a_pipe_name_each_token_and_a_single_one_stands_alone(home):
    shown = run(home[0], "invite", "cam-1", "cam-2")
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert [name for name, _ in rows] == ["cam-1", "cam-2"]
    assert all(token.startswith("ev1.") for _, token in rows)
    assert "cam-1" not in shown.stderr
    (alone,) = run(home[0], "invite", "cam-3").stdout.split()
    assert alone.startswith("ev1.")
    seen = run(home[0], "invite", "cam-4", "cam-5", terminal=True)
    assert "cam-4" in seen.stderr
    assert all(line.startswith("ev1.") for line in ESCAPE.sub("", seen.stdout).splitlines())


def test_a_token_says_that_the_key_is_elsewhere_once_it_is(tmp_path):
    home = initialised(tmp_path)
    assert run(home, "invite", "cam-1").stdout.startswith("ev1.")
    (tmp_path / "federation").rename(tmp_path / "elsewhere")
    assert run(home, "invite", "cam-2").stdout.startswith("ev2.")


def pictured(names_and_states, **more):
    agents = [{"name": n, "state": s, "last_seen": None} for n, s in names_and_states]
    status = {"url": "https://x:1", "pid": 1, "run": None, "agents": agents}
    console = Console(file=io.StringIO(), width=100)
    console.print(draw(Picture(status, Now(), {}), 1.0, 100, **more))
    return console.file.getvalue()


def test_the_glance_shows_the_active_first_and_counts_those_who_are_away():
    many = [
        ("cam-1", "offline"),
        ("cam-2", "connected"),
        ("cam-3", "pending"),
        ("cam-10", "connected"),
    ]
    shown = pictured(many)
    assert shown.index("cam-2") < shown.index("cam-10") < shown.index("cam-3")
    assert "cam-1 " not in shown
    assert "and 1 away" in shown
    everybody = pictured(many, everybody=True)
    assert everybody.index("cam-3") < everybody.index("cam-1 ")
    assert "away" not in everybody


def test_the_status_of_a_running_coordinator_says_what_it_waits_for(home):
    waits = {"kind": "agents", "here": 1, "wanted": 3, "missing": ["cam-2"], "refused": {}}
    answer = {
        "url": "https://x:1", "pid": 7, "run": "run-1", "round": 2, "stage": "select", "agents": [],
        "last_run": None, "waits_for": waits,
    }  # fmt: skip
    server = AdminServer(home[0] / SOCKET, {"status": lambda _: answer})
    server.start()
    try:
        shown = run(home[0], "status", columns=200).stdout
    finally:
        server.stop()
    assert "waiting for agents: 1 of 3 are there; not connected: cam-2" in shown


def test_the_followed_run_says_what_a_round_came_to():
    console = Door(file=io.StringIO(), width=100)
    display = Display(console, 5, lambda number: f"round {number} came to 94.1%")
    display.show(EventLine(1.0, "info", "round.commit", run="run-1", round=2, dur_ms=1100))
    assert console.file.getvalue() == "  committed in 1.1 s: round 2 came to 94.1%\n"
