"""The same small exchange over stock Flower: SuperLink, SuperNodes and a ServerApp as its manual starts them.

    python scripts/bench_transport_flower.py 2 10 30     # with so many nodes; default 2

No TLS, which only helps it. Everything Flower starts here is in the Python environment already, so
nothing is downloaded; on a machine where it does not come up, the row says so.
"""

import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches")]

from ports_bench import free_port  # noqa: E402
from processes_bench import BIN  # noqa: E402

from edgeveil.shared.flower import environment as flower_environment  # noqa: E402, F401 - before flwr: no telemetry

# isort: split
from flwr.cli.build import build_fab_from_files  # noqa: E402
from flwr.common.serde import fab_to_proto  # noqa: E402
from flwr.proto.control_pb2 import StartRunRequest  # noqa: E402
from flwr.supercore.control import ControlHttpClient  # noqa: E402
from flwr.supercore.fab import Fab  # noqa: E402

EXCHANGES = 4
LIMIT_S, LIMIT_OF_A_NODE_S = 120.0, 15.0
PROJECT = """[project]
name = "stockbench"
version = "1.0.0"
description = ""
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "bench"
[tool.flwr.app.components]
serverapp = "stockbench.server:app"
clientapp = "stockbench.client:app"
"""
CLIENT = """from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()
@app.query()
def answer(message, context):
    return Message(RecordDict({"r": ConfigRecord({"b": b"r" * 3000})}), reply_to=message)
"""
SERVER = """import json, time
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp
app = ServerApp()
@app.main()
def main(grid, context):
    while len(list(grid.get_node_ids())) < NODES:
        time.sleep(0.2)
    times = []
    for _ in range(EXCHANGES):
        records = RecordDict({"q": ConfigRecord({"b": b"q" * 3000})})
        sent = [Message(records, message_type="query", dst_node_id=n) for n in grid.get_node_ids()]
        began = time.monotonic()
        replies = list(grid.send_and_receive(sent, timeout=240))
        assert len(replies) == NODES and not any(r.has_error() for r in replies)
        times.append(time.monotonic() - began)
        open(OUT, "w").write(json.dumps(times))
"""


def stock(nodes: int = 2) -> list[tuple[str, str, str, str]]:
    """One row: median and worst of a few exchanges, and the memory of the server's side."""
    what = f"stock Flower: small exchange, {nodes} nodes"
    earlier = "9.4–10.1 s" if nodes == 2 else "–"
    with tempfile.TemporaryDirectory() as name:
        try:
            times, resident = _run(Path(name), nodes)
        except (RuntimeError, OSError) as error:
            return [(what, f"did not run here ({error})", "–", earlier)]
    shown = f"{statistics.median(times):.1f} s (worst {max(times):.1f}); server side {resident >> 20} MB"
    return [(what, shown, "–", earlier)]


def _run(folder: Path, nodes: int) -> tuple[list[float], int]:
    port, out = free_port(), folder / "times.json"
    limit_s = LIMIT_S + nodes * LIMIT_OF_A_NODE_S
    children = [_spawn(folder, "flower-superlink", "--insecure", "--port", str(port), "--disable-runtime-dependency-installation")]  # fmt: skip
    try:
        for _ in range(nodes):
            address = ("--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(free_port()))
            children.append(_spawn(folder, "flower-supernode", *address))
        _submit(port, out, nodes)
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if out.exists() and len(found := json.loads(out.read_text() or "[]")) == EXCHANGES:
                return found, _resident(children[0].pid)
            if any(child.poll() is not None for child in children):
                raise RuntimeError("a process of Flower's ended")
            time.sleep(0.2)
        done = json.loads(out.read_text()) if out.exists() else []
        raise RuntimeError(f"{len(done)} of {EXCHANGES} exchanges within {limit_s:.0f} s")
    finally:
        for child in children:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _submit(port: int, out: Path, nodes: int) -> None:
    texts = {
        "pyproject.toml": PROJECT,
        "stockbench/__init__.py": "",
        "stockbench/client.py": CLIENT,
        "stockbench/server.py": f"NODES, EXCHANGES, OUT = {nodes}, {EXCHANGES}, {str(out)!r}\n{SERVER}",
    }
    fab, _ = build_fab_from_files({name: text.encode() for name, text in texts.items()})
    bundle = Fab(hashlib.sha256(fab).hexdigest(), fab, {})
    control = ControlHttpClient.from_server_address(f"127.0.0.1:{port}", True, None, [])
    end = time.monotonic() + 30
    while True:
        try:
            control.StartRun(StartRunRequest(fab=fab_to_proto(bundle)))
        except Exception as error:
            if time.monotonic() > end:
                raise RuntimeError(f"the run was not taken: {type(error).__name__}") from error
            time.sleep(0.5)
        else:
            return


def _spawn(folder: Path, program: str, *options: str) -> "subprocess.Popen[bytes]":
    log = (folder / f"{program}-{time.monotonic_ns()}.log").open("wb")
    environment = os.environ | {"FLWR_HOME": str(folder / "flwr"), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "PATH": f"{BIN}:{os.environ['PATH']}"}  # fmt: skip
    return subprocess.Popen(
        [str(BIN / program), *options], env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _resident(group: int) -> int:
    """Bytes of every process in the SuperLink's process group: it and the ServerApp it started."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            continue
    return total


if __name__ == "__main__":
    for count in [int(word) for word in sys.argv[1:]] or [2]:
        for row in stock(count):
            print(*row, sep=" | ", flush=True)
