"""Peak memory of a real `agent run` while it trains, beside what `agent doctor` says it needs.

    python scripts/bench_agent_memory.py                # about three minutes

A coordinator and three agents on loopback, one federation per model, two rounds each; images are
random numbers of the right shape.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches")]

from ports_bench import free_port  # noqa: E402
from processes_bench import BIN, run, wait_until  # noqa: E402

from edgeveil.agent.cli.doctor_standing import needed_memory  # noqa: E402
from edgeveil.shared.tasks.registry import load, newest  # noqa: E402
from edgeveil.shared.vector.model_vector import count  # noqa: E402

MIB = 1 << 20
NAMES = ("a", "b", "c")
RECORDS = 60
SHAPES = {  # variant, side of the square images, classes
    "linear 28": ("linear", 28, 10),
    "cnn 28": ("cnn", 28, 10),
    "cnn 64": ("cnn", 64, 200),
    "linear 128": ("linear", 128, 250),
    "linear 256": ("linear", 256, 120),
}
POLICY = "epsilon_max = 8.0\ndelta = 1e-5\n[secagg]\nn_min = 3\nc_min = 0\n"


def write_inputs(folder: Path, variant: str, side: int, classes: int) -> int:
    """Plan, policy and data of three devices; the number of parameters."""
    random = np.random.default_rng(1)
    for name in NAMES:
        pixels = random.integers(0, 256, (RECORDS, side, side), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", X=pixels, y=np.arange(RECORDS) % classes)
    options = {"variant": variant, "height": side, "width": side, "classes": classes}
    (folder / "plan.toml").write_text(
        '[task]\nid = "image-classification"\n'
        f'options = {{ variant = "{variant}", height = {side}, width = {side}, classes = {classes} }}\n'
        "[training]\nsteps = 2\nclip_norm = 0.3\nlearning_rate = 0.1\nepsilon = 8.0\n"
        "[rounds]\ncount = 2\ngoal = 3\nminimum = 3\ndeadline_s = 120.0\n[secagg]\nc_min = 0\n"
    )
    (folder / "policy.toml").write_text(POLICY)
    task = load(newest("image-classification"))
    return count(task.tensors(task.parse_options(options)))


def highest(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("the kernel does not say")


def measure(folder: Path, *shape: str | int) -> tuple[int, int]:
    """Parameters, and the peak of the agent that took most, in bytes."""
    values = write_inputs(folder, *shape)  # type: ignore[arg-type]
    home, where = folder / "coordinator", f"127.0.0.1:{free_port()}"
    run("coordinator", "init", "--one-machine", "--url", f"https://{where}", "--listen", where, home=home)  # fmt: skip
    tokens = json.loads(run("coordinator", "invite", "--json", *NAMES, home=home).stdout)
    children = [spawn(home, "coordinator", "serve")]
    try:
        wait_until(lambda: status(home)["pid"], 60, "serve")
        for entry in tokens:
            name = entry["name"]
            words = ("--join", entry["token"], "--data", str(folder / f"{name}.npz"))
            policy = ("--policy", str(folder / "policy.toml"))
            children.append(spawn(folder / name, "agent", "run", *words, *policy))
        wait_until(lambda: [a["state"] for a in status(home)["agents"]] == ["connected"] * 3, 90, "agents")  # fmt: skip
        run("coordinator", "run", "--json", folder / "plan.toml", home=home, timeout=280)
        return values, max(highest(child.pid) for child in children[1:])
    finally:
        for child in children:
            child.send_signal(signal.SIGTERM)
        for child in children:
            child.wait(20)


def spawn(home: Path, *command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [str(BIN / command[0]), *command[1:]], env=os.environ | {"EDGEVEIL_HOME": str(home)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def status(home: Path) -> dict[str, object]:
    return dict(json.loads(run("coordinator", "status", "--json", home=home).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    for name in parser.parse_args().only:
        with tempfile.TemporaryDirectory() as folder:
            values, peak = measure(Path(folder), *SHAPES[name])
        said = needed_memory(values)
        print(f"{name:12} {values:>10,} parameters: peak {peak // MIB} MB, doctor says {said // MIB} MB")  # fmt: skip


if __name__ == "__main__":
    main()
