"""Real processes on loopback: a coordinator and agents, as a user would start them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from fakes_federation import write_digits
from ports_bench import free_port

BIN = Path(sys.executable).parent
WIRETAP = Path(__file__).parents[1] / "system" / "wiretap.py"
POLICY = "epsilon_max = 8.0\ndelta = 1e-5\n[secagg]\nn_min = 3\nc_min = 0\n"


def run(*command, home=None, check=True, text=None, timeout=120):
    """One command to its end, as a user types it."""
    environment = os.environ | ({"EDGEVEIL_HOME": str(home)} if home else {})
    found = subprocess.run(
        [str(BIN / command[0]), *map(str, command[1:])],
        env=environment, capture_output=True, text=True, input=text, timeout=timeout, check=False,
    )  # fmt: skip
    if check:
        assert found.returncode == 0, f"{command}: {found.stderr}"
    return found


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(reached, seconds, what):
    """`what` is said when it never comes: a sentence, or a function that looks then."""
    until = time.monotonic() + seconds
    while not reached():
        if time.monotonic() >= until:
            raise AssertionError(
                f"waited {seconds} s in vain for {what() if callable(what) else what}"
            )
        time.sleep(0.1)


class Machine:
    """One folder with everything: coordinator/, federation/, agent-N/, tap/."""

    def __init__(self, folder, agents=4, records=60, init=("--no-passphrase",)):
        self.folder = Path(folder)
        self.tap = self.folder / "tap"
        self.tap.mkdir()
        self.home = self.folder / "coordinator"
        *self.pieces, self.test = write_digits(self.folder, agents, records)
        self.names = [f"agent-{number}" for number in range(1, agents + 1)]
        self.processes = {}
        self._spawned = []
        self.port = free_port()
        (self.folder / "policy.toml").write_text(POLICY)
        run("coordinator", "init", "--url", f"https://127.0.0.1:{self.port}", "--listen", f"127.0.0.1:{self.port}",
            *init, home=self.home)  # fmt: skip

    def agent_home(self, name):
        return self.folder / name

    def spawn(self, name, role, *arguments, **environment):
        folder = self.folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
        variables = {
            "EDGEVEIL_HOME": str(folder),
            "EDGEVEIL_TAP": str(self.tap),
            "OMP_NUM_THREADS": "1",
        }
        with (folder / "out.log").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [sys.executable, str(WIRETAP), role, *map(str, arguments)],
                env=os.environ | variables | environment,
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._spawned.append(self.processes[name])
        return self.processes[name]

    def serve(self):
        serving = self.spawn("coordinator", "coordinator", "serve")
        wait_until(
            lambda: self.status()["pid"] == serving.pid,
            120,
            lambda: f"serve: {self.log('coordinator')}",
        )

    def start_agent(self, name, *arguments, **environment):
        return self.spawn(name, "agent", "run", *arguments, **environment)

    def join_all(self):
        tokens = json.loads(
            run("coordinator", "invite", "--json", *self.names, home=self.home).stdout
        )
        for entry, data in zip(tokens, self.pieces, strict=True):
            name = entry["name"]
            self.start_agent(
                name,
                "--join",
                entry["token"],
                "--data",
                data,
                "--policy",
                self.folder / "policy.toml",
            )
        self.wait_for("pending", 120)
        run("coordinator", "roster", "sign", "--yes", home=self.home)
        self.wait_for("connected", 120)

    def status(self):
        return json.loads(run("coordinator", "status", "--json", home=self.home).stdout)

    def rounds(self):
        return json.loads(run("coordinator", "rounds", "--json", home=self.home).stdout)

    def budget(self, name):
        return json.loads(run("agent", "budget", "--json", home=self.agent_home(name)).stdout)

    def wait_for(self, state, seconds, names=None):
        def reached():
            found = {agent["name"]: agent["state"] for agent in self.status()["agents"]}
            return all(found.get(name) == state for name in names or self.names)

        wait_until(reached, seconds, lambda: f"{state}: {self.status()['agents']}")

    def plan(self, name="plan.toml", *, count, epsilon=8.0, deadline_s=60.0, **more):
        path = self.folder / name
        path.write_text(
            '[task]\nid = "feature-head"\noptions = { variant = "fixed" }\n'
            f"[training]\nsteps = 2\nclip_norm = 0.3\nlearning_rate = 100.0\nepsilon = {epsilon}\n"
            f"[rounds]\ncount = {count}\ngoal = {len(self.names)}\nminimum = 3\ndeadline_s = {deadline_s}\n"
            "[secagg]\nc_min = 0\n"
            f'[evaluation]\ndata = "{self.test.name}"\n'
        )
        return path

    def train(self, plan, again=False, **options):
        words = ["run", "--json", *(["--again"] if again else []), plan]
        return run("coordinator", *words, home=self.home, timeout=600, **options)

    def log(self, name):
        path = self.folder / name / "out.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self, name, number=signal.SIGTERM, seconds=60):
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(timeout=seconds)

    def close(self):
        for process in self._spawned:
            if process.poll() is None:
                process.kill()
                process.wait()
