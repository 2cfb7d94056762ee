"""Predictions on a device: eager torch beside onnxruntime and 8 bits, the service around them, the cold start.

    python scripts/bench_inference.py speed [--only CNN] [--packages DIR]
    python scripts/bench_inference.py service|memory|start [--packages DIR]

One thread, models of random weights. `speed`: both begin with raw records and end with what the graph gives, in blocks by
turns, so that whatever else the machine does hits both; medians of CPU time, because a shared machine disturbs it least, and wall
time. `service`: a record over HTTP beside the bare model; the client is another process on raw sockets, so that the CPU time is
the service's alone. `memory`: proportional set size of `agent serve` after twenty answers. `start`: least and median CPU s of
whole processes of `agent predict` with one picture, beside its libraries alone.
Packages are made once, which takes a minute, and kept in --packages.
"""

import argparse
import http.client
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / each) for each in ("tests/benches", "tests")]  # fmt: skip

from models_bench import pictures, trained  # noqa: E402 - found by the line above
from PIL import Image  # noqa: E402

from edgeveil.agent.compression import quantizing  # noqa: E402
from edgeveil.agent.inference.runtime import open_model  # noqa: E402
from edgeveil.agent.inference.serving.limits import ARRAYS  # noqa: E402
from edgeveil.agent.inference.serving.service import Server  # noqa: E402
from edgeveil.agent.inference.serving.slot import Slot  # noqa: E402
from edgeveil.coordinator.models.export import export  # noqa: E402
from edgeveil.shared.models import known_answer  # noqa: E402
from edgeveil.shared.models.package import read_package  # noqa: E402
from edgeveil.shared.tasks import registry  # noqa: E402
from edgeveil.shared.tasks.graphs import packaged  # noqa: E402
from edgeveil.shared.tasks.images import ImageTask  # noqa: E402

COLUMNS = ",".join(f"{kind}{axis} -4..4" for kind in ("a", "g") for axis in "xyz")
WINDOWS = {"columns": COLUMNS, "labels": "a,b,c,d,e,f", "window": 100, "variant": "lstm"}
YOLO = {"labels": "car,bus", "variant": "tiny", "width": "1", "size": 416}
MODELS: dict[str, tuple[str, dict[str, Any], int]] = {
    "CNN": ("image-classification", {}, 2000),
    "LSTM": ("sensor-sequence", WINDOWS, 1000),
    "YOLO": ("detection", YOLO, 30),
    "features": ("feature-head", {}, 1000),
}
TOKEN = "a1" * 32
SERVED, BLOCKS = 100, 5  # requests of a client, clients
# A connection is used again where the service keeps it.
CLIENT = """
import json, socket, sys, time
port, repeats, first = map(int, sys.argv[1:])
asked, link, took = sys.stdin.buffer.read(), None, []
for number in range(first + repeats):
    if number == first:
        print("ready", flush=True)
    began = time.perf_counter()
    if link is None:
        link = socket.create_connection(("127.0.0.1", port))
    link.sendall(asked)
    found = b""
    while b"\\r\\n\\r\\n" not in found:
        found += link.recv(65536)
    head, _, rest = found.partition(b"\\r\\n\\r\\n")
    lines = [line.lower() for line in head.split(b"\\r\\n")]
    assert b" 200 " in lines[0], found
    left = next(int(line[15:]) for line in lines if line.startswith(b"content-length:")) - len(rest)
    while left:
        left -= len(link.recv(65536))
    if number >= first:
        took.append(1e3 * (time.perf_counter() - began))
    if b"connection: close" in lines:
        link.close()
        link = None
print(json.dumps(took), flush=True)
"""
BLOCK, WARM_UP = 50, 3  # calls
STARTS = 9  # of each command


def package_of(name: str, folder: Path) -> Path:
    """Made if it is not there."""
    path = folder / f"{name}.evm"
    if not path.exists():
        task_id, raw, _ = MODELS[name]
        with tempfile.TemporaryDirectory() as made:
            home, run = trained(Path(made), task_id, **raw)
            export(home, run, "last", path)
    return path


def medians(acts: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """(CPU ms, wall ms) of one call of each, in blocks by turns; the first calls of a block find cold caches."""
    cpu: dict[str, list[float]] = {name: [] for name in acts}
    wall: dict[str, list[float]] = {name: [] for name in acts}
    block = min(BLOCK, repeats)
    for _ in range(repeats // block):
        for name, act in acts.items():
            for at in range(WARM_UP + block):
                before, began = time.process_time(), time.perf_counter()
                act()
                if at >= WARM_UP:
                    wall[name].append(1e3 * (time.perf_counter() - began))
                    cpu[name].append(1e3 * (time.process_time() - before))
    return {name: (statistics.median(cpu[name]), statistics.median(wall[name])) for name in acts}


def eager(path: Path) -> Callable[[], object]:
    """Raw records to what the model gives, as torch does it; pictures are prepared by the task, in numpy."""
    from safetensors.torch import load  # noqa: PLC0415 - [train]

    package = read_package(path)
    task = registry.load(registry.newest(package.manifest.task.id))
    options = task.parse_options(dict(package.manifest.task.options))
    module = task.build(options).eval()
    module.load_state_dict(load(package.weights))
    whole = packaged(task, options, module).module.eval()
    record = known_answer.records(package.manifest.input)[:1]

    def act() -> object:
        with torch.inference_mode():
            if isinstance(task, ImageTask):
                return module(torch.from_numpy(task.inputs(record, options)))
            return whole(torch.from_numpy(record))

    return act


def speed(chosen: argparse.Namespace) -> None:
    for name in chosen.only or MODELS:
        path = package_of(name, chosen.packages)
        package, model = read_package(path), open_model(path, threads=1)
        record = known_answer.records(model.input)[:1]
        small = quantizing.dynamic(package.model)
        whole, eight = _session(package.model), _session(small)
        key = model.input.name
        acts = {
            "torch": eager(path),
            "package": lambda model=model, record=record: model.outputs(record),
            "onnxruntime alone": lambda run=whole, key=key, record=record: run(None, {key: record}),
            "8 bits, dynamic": lambda run=eight, key=key, record=record: run(None, {key: record}),
        }
        found = medians(acts, max(3, round(MODELS[name][2] * chosen.share)))
        ratio = found["torch"][0] / found["package"][0]
        told({"model": name, "graph_bytes": len(package.model), "int8_of_fp32": round(len(small) / len(package.model), 4),
              "torch_over_package": round(ratio, 2), "cpu_ms": {each: round(value[0], 4) for each, value in found.items()},
              "wall_ms": {each: round(value[1], 4) for each, value in found.items()}})  # fmt: skip


def service(chosen: argparse.Namespace) -> None:
    for name, repeats in (("CNN", SERVED), ("YOLO", 15)):
        if chosen.only and name not in chosen.only:
            continue
        path = package_of(name, chosen.packages)
        model = open_model(path, threads=1)
        record = known_answer.records(model.input)[:1]
        body = io.BytesIO()
        np.savez(body, X=record)
        slot = Slot(path, lambda path: open_model(path, threads=1), lambda _: None)
        server = Server(("127.0.0.1", 0), slot, TOKEN)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bare, served, waited = [], [], []
        for _ in range(BLOCKS):
            bare += [
                _cpu_ms(lambda model=model, record=record: model.said(record, [None]))
                for _ in range(repeats)
            ]
            cpu, wall = _clients(int(server.server_address[1]), body.getvalue(), repeats)
            served.append(cpu / repeats)
            waited += wall
        server.shutdown()
        server.server_close()
        told({"model": name, "bytes_sent": body.tell(), "bare_cpu_ms": round(statistics.median(bare), 3),
              "served_cpu_ms": round(statistics.median(served), 3), "client_wall_ms": round(statistics.median(waited), 3)})  # fmt: skip


def _cpu_ms(act: Callable[[], object]) -> float:
    before = time.process_time()
    act()
    return 1e3 * (time.process_time() - before)


def _clients(port: int, body: bytes, repeats: int) -> tuple[float, list[float]]:
    """CPU ms of this process while a client asks so often, and what each answer took the client, in ms."""
    head = f"POST /v1/predict HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {ARRAYS}\r\nContent-Length: {len(body)}\r\n\r\n"
    with subprocess.Popen([sys.executable, "-c", CLIENT, str(port), str(repeats), str(WARM_UP)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:  # fmt: skip
        if client.stdin is None or client.stdout is None:
            raise SystemExit("no pipes")
        client.stdin.write(head.encode() + body)
        client.stdin.close()
        client.stdout.readline()  # its first answers are there
        before = time.process_time()
        found = json.loads(client.stdout.readline())
    return 1e3 * (time.process_time() - before), found


def asked(port: int, body: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": ARRAYS}
    connection.request("POST", "/v1/predict", body, headers)
    answer = connection.getresponse()
    found = answer.read()
    connection.close()
    if answer.status != http.client.OK:
        raise SystemExit(found.decode())
    return found


def memory(chosen: argparse.Namespace) -> None:
    path = package_of("CNN", chosen.packages)
    model = open_model(path, threads=1)
    body = io.BytesIO()
    np.savez(body, X=known_answer.records(model.input)[:1])
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        command = [*_agent(), "serve", path, "--threads", "1", "--trust", model.signer.hex(), "--home", f"{folder}/home", "--listen", "127.0.0.1:18482", "--token-file", token]  # fmt: skip
        with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
            said = process.stderr.readline() if process.stderr else ""
            for _ in range(20):
                asked(18482, body.getvalue())
            rows = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            process.terminate()
    sizes = {row.split(":")[0]: int(row.split()[1]) for row in rows[1:] if row.endswith("kB")}
    told({"said": said.strip()[:60], "pss_mb": round(sizes["Pss"] * 1024 / 1e6, 1), "rss_mb": round(sizes["Rss"] * 1024 / 1e6, 1)})  # fmt: skip


def start(chosen: argparse.Namespace) -> None:
    path = package_of("CNN", chosen.packages)
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(pictures(1, 28, 28)[0]).save(f"{folder}/a.png")
        commands = {
            "libraries alone": [sys.executable, "-c", "import numpy, onnxruntime, PIL.Image"],
            "agent predict": [*_agent(), "predict", str(path), f"{folder}/a.png", "--home", f"{folder}/home", "--json"],
        }  # fmt: skip
        # As installed: compiled once, by the first start of each.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # fmt: skip
        env["PYTHONPYCACHEPREFIX"] = f"{folder}/compiled"
        cpu: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(1 + STARTS):
            for name, command in commands.items():
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run(command, capture_output=True, check=True, env=env)
                now = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu[name].append(now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime)
    told({name: [round(min(each[1:]), 3), round(statistics.median(each[1:]), 3)] for name, each in cpu.items()})  # fmt: skip


def _session(graph: bytes) -> Any:
    """The bare session's run()."""
    import onnxruntime  # noqa: PLC0415 - the product opens its own

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run


def _agent() -> list[str]:
    return [sys.executable, "-c", "from edgeveil.agent.cli.app import main; main()"]


def told(row: dict[str, Any]) -> None:
    print(json.dumps({**row, "load": round(os.getloadavg()[0])}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=("speed", "service", "memory", "start"))
    parser.add_argument("--only", action="append", choices=tuple(MODELS))
    parser.add_argument("--share", type=float, default=1.0, help="of the repeats of speed")
    parser.add_argument("--packages", type=Path, default=Path("packages"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.packages.mkdir(exist_ok=True)
    {"speed": speed, "service": service, "memory": memory, "start": start}[chosen.part](chosen)


if __name__ == "__main__":
    main()
