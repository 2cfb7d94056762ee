"""The demo behind demo.sh: five real processes on loopback, from enrolment to a trained model.

Everything goes through the two commands a user has; this script only starts them, waits, and reads
their --json. State lands in one folder: federation/, coordinator/, agent-1/ … and data/.
"""

import argparse
import contextlib
import ctypes
import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_summary import agents_table, rounds_table
from demo_tasks import TASKS
from rich.console import Console

from edgeveil.shared.base.errors import EdgeveilError

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
MARKER = "edgeveil-demo.json"
DIGITS = {
    "feature-head": {
        "id": "feature-head", "options": 'variant = "fixed"',
        "steps": 8, "sample_rate": 1.0, "clip_norm": 0.3, "learning_rate": 100.0,
    },
    "image-classification": {
        "id": "image-classification", "options": 'variant = "cnn"',
        "steps": 32, "sample_rate": 0.25, "clip_norm": 1.0, "learning_rate": 1.0,
    },
}  # fmt: skip  # the plans of the README's demo; other tasks have the one `coordinator plan new` writes
console = Console(stderr=True, highlight=False)


class DemoError(Exception):
    """One sentence for the user."""


@dataclass(frozen=True)
class Options:
    agents: int
    rounds: int | None
    epsilon: float
    task: str
    home: Path
    ask: bool


def main() -> int:
    options = parse()
    os.umask(0o077)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            demo = Demo(options, stack)
            report = demo.play()
            demo.summarise(report, time.monotonic() - started)
        except (DemoError, EdgeveilError) as error:
            console.print("[bold red]error[/]:", end=" ")
            console.print(str(error), markup=False)
            return 1
        except OSError as error:
            console.print("[bold red]error[/]:", end=" ")
            console.print(
                f"{error.filename or options.home}: {error.strerror}; choose another --home",
                markup=False,
            )
            return 1
        except KeyboardInterrupt:
            console.print("interrupted; stopping every process")
            return 130
    return 0


def parse() -> Options:
    parser = argparse.ArgumentParser(
        prog="demo.sh", description="A whole federation on this machine."
    )
    parser.add_argument("--task", choices=TASKS, default="feature-head", help="what is learned")
    parser.add_argument(
        "--agents", type=int, help="agent processes, at least 3 (default 4; 10 wearers of watches)"
    )
    parser.add_argument(
        "--rounds", type=int, help="training rounds (default 5, or as the plan has it)"
    )
    parser.add_argument(
        "--epsilon", type=float, default=8.0, help="privacy budget per agent (default 8)"
    )
    parser.add_argument(
        "--home",
        type=Path,
        default=ROOT / "demo-home",
        help="where all state goes (default ./demo-home)",
    )
    parser.add_argument("--no-input", action="store_true", help="never ask")
    given = parser.parse_args()
    given.agents = given.agents or TASKS[given.task].agents
    given.rounds = given.rounds or TASKS[given.task].rounds
    if not 3 <= given.agents <= 32:
        parser.error(
            f"--agents {given.agents}: a sum needs at least 3 agents to hide one, and 32 are plenty here"
        )
    if given.rounds is not None and not 1 <= given.rounds <= 1000:
        parser.error(f"--rounds {given.rounds}: choose 1 to 1000")
    if not 0.1 <= given.epsilon <= 50:
        parser.error(f"--epsilon {given.epsilon}: choose 0.1 to 50")
    if not str(given.home) or given.home.resolve() == ROOT:
        parser.error("--home: name a folder of its own")
    return Options(
        given.agents,
        given.rounds,
        given.epsilon,
        given.task,
        given.home.absolute(),
        not given.no_input,
    )


class Demo:
    """Starts processes on the given ExitStack, so that whatever happens they are stopped."""

    def __init__(self, options: Options, stack: contextlib.ExitStack) -> None:
        self.options = options
        self.task = TASKS[options.task]
        self.home = options.home
        self.names = [f"agent-{number}" for number in range(1, options.agents + 1)]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started = time.monotonic()
        stack.callback(stop_all, self._processes)

    def play(self) -> dict[str, Any]:
        self._prepare_home()
        self._step(1, f"data: {self.task.about}, split over {self.options.agents} agents")
        self._deal_data()
        self._step(2, "coordinator: keys, certificates, database")
        self._start_coordinator()
        self._step(3, f"{self.options.agents} agents join with one-time tokens and read their data")
        self._start_agents()
        self._step(4, "the federation key signs the roster; agents load torch and connect")
        self._command(
            "coordinator", "roster", "sign", "--yes", "--federation", str(self.home / "federation")
        )
        self._wait_for("connected", 180)
        self._step(5, "rounds with DP-SGD and secure aggregation")
        return self._train()

    def _step(self, number: int, text: str) -> None:
        """What begins now, and when: without a terminal nothing moves while it is waited for."""
        so_far = time.monotonic() - self._started
        console.print(f"[bold]{number}[/] of 5, after {so_far:.0f} s: {text}", soft_wrap=True)

    def summarise(self, report: dict[str, Any], seconds: float) -> None:
        budgets = {name: self._read(name, "budget") for name in self.names}
        out = Console(highlight=False, soft_wrap=True)
        out.print(rounds_table(report, budgets, self.task))
        out.print(agents_table(budgets))
        metrics = report["metrics"]
        figure = f"{metrics.get(self.task.metric, 0):{self.task.form}}"
        out.print(
            f"{self.task.called} [bold]{figure}[/] on {metrics.get('examples', 0):.0f} held-out {self.task.things}, in {seconds:.0f} s"
        )
        home, run = self.home, report["run"]
        where, model = shlex.quote(f"{home}/coordinator"), shlex.quote(f"{home}/model.evm")
        device, test = shlex.quote(f"{home}/agent-1"), shlex.quote(f"{home}/data/test")
        for label, text in (
            ("model", report["model"]),
            ("report", f"{home}/coordinator/runs/{run}/report.json, {self._page()}"),
            ("logs", f"{home}/coordinator/runs/{run}/events.jsonl, {home}/*/*.log"),
            ("look", f".venv/bin/coordinator rounds --home {where}"),
            ("", f".venv/bin/agent budget --home {device}"),
            ("publish", f".venv/bin/coordinator serve --home {where} &"),
            ("", f".venv/bin/coordinator model publish {run} --home {where}"),
            ("predict", f".venv/bin/coordinator model export {run} --home {where} -o {model}"),
            (
                "",
                f".venv/bin/agent predict {model} {test} --home {device}"
                if self.task.takes_files
                else f"takes arrays: docs/tasks/{self.options.task}.md",
            ),
        ):
            out.print(f"{label:<8} {text}", markup=False)

    def _page(self) -> Path:
        """The report as a page; of detection with pictures, before training and after."""
        page = self.home / "report.html"
        self._command("coordinator", "report", "--html", str(page))
        return page

    def _prepare_home(self) -> None:
        """A fresh folder; an earlier demo's is moved aside, anybody else's is left alone."""
        home = self.home
        if home.exists() and any(home.iterdir()):
            if not (home / MARKER).exists():
                raise DemoError(f"{home} holds something else; choose an empty folder with --home")
            aside = next(
                p
                for n in range(1, 10_000)
                if not (p := home.with_name(f"{home.name}.{n}")).exists()
            )
            if self.options.ask and sys.stdin.isatty():
                question = f"{home} holds an earlier demo; press Enter to move it to {aside}"
                console.print(question, end=" ", markup=False)
                sys.stdin.readline()
            home.rename(aside)
            console.print(f"the earlier demo is now in {aside}", markup=False)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
        (home / MARKER).write_text(
            json.dumps({"agents": self.options.agents, "rounds": self.options.rounds})
        )

    def _deal_data(self) -> None:
        data, plan = self.home / "data", self.home / "plan.toml"
        self.task.deal(data, self.options.agents)
        (self.home / "policy.toml").write_text(policy_text(self.options))
        if self.options.task in DIGITS:
            plan.write_text(digits_plan(self.options))
            return
        words = [word.format(test=data / "test", data=data) for word in self.task.words]
        self._command(
            "coordinator", "plan", "new", *words, "--test", str(data / "test"), "--output", str(plan),
            "--agents", str(self.options.agents), "--records", str(self.task.records),
            "--epsilon", str(self.options.epsilon),
        )  # fmt: skip
        if self.options.rounds:
            text = re.sub(r"(?m)^count = \d+", f"count = {self.options.rounds}", plan.read_text())
            plan.write_text(text)

    def _start_coordinator(self) -> None:
        port = free_port()
        self._command(
            "coordinator", "init", "--url", f"https://127.0.0.1:{port}", "--listen", f"127.0.0.1:{port}",
            "--federation", str(self.home / "federation"), "--no-passphrase",
        )  # fmt: skip
        self._spawn("coordinator", "coordinator", "serve")
        self._wait_until(lambda: self._status()["pid"] is not None, 90, "the coordinator to answer")

    def _start_agents(self) -> None:
        tokens = json.loads(
            self._command("coordinator", "invite", "--json", "--ttl", "10m", *self.names)
        )
        for entry in tokens:
            name = entry["name"]
            path = self.home / f"{name}.token"
            path.touch(mode=0o600)
            path.write_text(entry["token"])
            self._spawn(
                name, "agent", "run", "--join", f"@{path}", "--data", str(self.home / "data" / name),
                "--policy", str(self.home / "policy.toml"),
            )  # fmt: skip
        self._wait_for("pending", 180)
        for name in self.names:
            (self.home / f"{name}.token").unlink()

    def _train(self) -> dict[str, Any]:
        command = [str(BIN / "coordinator"), "run", "--json", str(self.home / "plan.toml")]
        found = subprocess.run(
            command, env=self._environment("coordinator"), stdout=subprocess.PIPE, check=False
        )
        if found.returncode:
            raise DemoError(
                f"the run did not finish; see {self.home}/coordinator/serve.log and {self.home}/agent-*/run.log"
            )
        report: dict[str, Any] = json.loads(found.stdout)
        return report

    def _spawn(self, name: str, *command: str) -> None:
        folder = self.home / name
        folder.mkdir(mode=0o700, exist_ok=True)
        log = folder / ("serve.log" if name == "coordinator" else "run.log")
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this script, which stops them in order
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one thread here, and it only calls prctl
            )
        self._processes[name] = process

    def _environment(self, name: str) -> dict[str, str]:
        threads = {"OMP_NUM_THREADS": "1"}  # the agents share this machine's cores
        return os.environ | threads | {"EDGEVEIL_HOME": str(self.home / name)}

    def _command(self, name: str, *arguments: str) -> str:
        role = "coordinator" if name == "coordinator" else "agent"
        return run([str(BIN / role), *arguments], env=self._environment(name))

    def _read(self, name: str, what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._command(name, what, "--json"))
        return found

    def _status(self) -> dict[str, Any]:
        return self._read("coordinator", "status")

    def _wait_for(self, state: str, seconds: float) -> None:
        def reached() -> bool:
            return sum(agent["state"] == state for agent in self._status()["agents"]) >= len(
                self.names
            )

        self._wait_until(reached, seconds, f"{len(self.names)} agents to be {state}")

    def _wait_until(self, reached: Any, seconds: float, what: str) -> None:
        until = time.monotonic() + seconds
        with console.status(f"waiting for {what}"):
            while not reached():
                for name, process in self._processes.items():
                    if process.poll() is not None:
                        log = (
                            self.home / name / ("serve.log" if name == "coordinator" else "run.log")
                        )
                        raise DemoError(f"{name} ended early: {log.read_text().strip() or log}")
                if time.monotonic() > until:
                    raise DemoError(
                        f"waited {seconds:.0f} s for {what} in vain; see the logs in {self.home}"
                    )
                time.sleep(0.3)


def digits_plan(options: Options) -> str:
    values = DIGITS[options.task]
    return f"""# The demo's plan; deploy/samples explains every key.
[task]
id = "{values["id"]}"
options = {{ {values["options"]} }}

[training]
steps = {values["steps"]}
sample_rate = {values["sample_rate"]}
clip_norm = {values["clip_norm"]}
learning_rate = {values["learning_rate"]}
epsilon = {options.epsilon}
delta = 1e-5

[rounds]
count = {options.rounds}
goal = {options.agents}
minimum = 3
deadline_s = 120.0

[secagg]
n_min = 3
c_min = 0  # four agents survive the loss of one; nobody is assumed to collude

[evaluation]
data = "data/test"
"""


def policy_text(options: Options) -> str:
    return f"""# What every demo agent agrees to; docs/configuration.md explains every key.
epsilon_max = {options.epsilon}
delta = 1e-5
tell_budget = true

[secagg]
n_min = 3
c_min = 0
"""


def run(command: list[str], env: dict[str, str] | None = None) -> str:
    found = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise DemoError(f"{Path(command[0]).name} {command[1]}: {found.stderr.strip()}")
    return found.stdout


def free_port() -> int:
    """Below those the kernel hands out by itself, one of which somebody could be given meanwhile."""
    for port in random.sample(range(10_240, 32_768), 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise DemoError("a hundred ports of 127.0.0.1 between 10240 and 32767 are in use")


def die_with_parent() -> None:
    """In the child: PR_SET_PDEATHSIG, so that even kill -9 of the demo leaves no process behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def stop_all(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Agents first and together, then the coordinator; whoever needs over 10 s is killed."""
    agents = [process for name, process in processes.items() if name != "coordinator"]
    for group in (agents, [p for p in processes.values() if p not in agents]):
        for process in group:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + 10
        for process in group:
            try:
                process.wait(timeout=max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


if __name__ == "__main__":
    sys.exit(main())
