"""What stands at the other ends of an owner's rules: a webhook, a collector, a broker, each a process; and `agent serve`."""

import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from certificates_bench import Operator
from models_bench import VECTORS, pictures
from PIL import Image
from ports_bench import free_port
from processes_bench import wait_until

from edgeveil.agent.inference.runtime import open_model
from edgeveil.shared.models.package import read_package

ROOT = Path(__file__).resolve().parents[2]
CNN = VECTORS / "cnn.evm"
SIGNER = read_package(CNN).signer.hex()
COMMAND = [sys.executable, "-P", "-c", "from edgeveil.agent.cli.app import main; main()"]
COLLECTOR = [sys.executable, str(ROOT / "scripts/collector.py")]
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None and not os.environ.get("EDGEVEIL_NO_SKIP"), reason="apt-get install mosquitto"
)


def picture():
    """PNG, and the label that the model gives it."""
    raw, made = pictures(1, 8, 8)[0], io.BytesIO()
    Image.fromarray(raw).save(made, "png")
    return made.getvalue(), open_model(CNN).predict(raw)[0].label


def owner(home, text):
    """Write the owner's rules."""
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "rules.toml").write_text(text)
    (home / "rules.toml").chmod(0o600)


class Service:
    """`agent serve` of a home."""

    def __init__(self, home):
        self.home, self.said = home, []
        command = [*COMMAND, "serve", str(CNN), "--trust", SIGNER, "--listen", "127.0.0.1:0", "--home", str(home)]  # fmt: skip
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()
        wait_until(self._port, 60, lambda: f"the service: {self.said}")
        self.port = self._port()
        self.token = (home / "serve.token").read_text().strip()

    def _read(self):
        for line in self.process.stderr:
            self.said.append(line)

    def _port(self):
        assert self.process.poll() is None, self.said
        found = re.search(r" at http://127.0.0.1:(\d+)/v1/predict", "".join(self.said))
        return int(found[1]) if found else 0

    def ask(self, body):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        link.request("POST", "/v1/predict", body, {"Authorization": f"Bearer {self.token}"})
        answer = link.getresponse()
        found = json.loads(answer.read())
        assert answer.status == 200, found
        return found

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.said


@contextmanager
def serving(home):
    made = Service(home)
    try:
        yield made
        if made.process.poll() is None:
            made.stop()
    finally:
        made.process.kill()


class Collector:
    """scripts/collector.py with TLS on one port; start(), kill() and start() again."""

    def __init__(self, folder, port=0):
        self.folder, self.port = folder / "centre", port or free_port()
        (folder / "authority").mkdir()
        self.operator = Operator(folder / "authority")
        self.process = None

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}/v1/results"

    @property
    def ca(self):
        return self.operator.ca / "ca.pem"

    def add(self, name):
        self.run("add", name)
        return self.folder / f"{name}.token"

    def run(self, *arguments):
        found = subprocess.run([*COLLECTOR, *arguments, "--data", str(self.folder)], capture_output=True, text=True)  # fmt: skip
        assert found.returncode == 0, found.stderr
        return found.stdout

    def start(self):
        command = [*COLLECTOR, "serve", "--data", str(self.folder), "--listen", f"127.0.0.1:{self.port}"]  # fmt: skip
        command += ["--certificate", str(self.operator.certificate), "--key", str(self.operator.key)]  # fmt: skip
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_until(lambda: listens(self.port), 60, "the collector")

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def counts(self):
        return json.loads(self.run("show", "--json"))["devices"]


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def webhook():
    """A receiver in a process of its own: (url, function that reads what came, as bytes with its headers)."""
    code = (
        "import http.server, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        body = self.rfile.read(int(self.headers['Content-Length']))\n"
        "        sys.stdout.buffer.write(repr((self.path, dict(self.headers), body)).encode() + b'\\n')\n"
        "        sys.stdout.flush()\n"
        "        self.send_response(200); self.end_headers()\n"
        "    def log_message(self, *a): pass\n"
        "s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)\n"
        "print(s.server_address[1], flush=True)\n"
        "s.serve_forever()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    got = []
    port = int(process.stdout.readline())
    threading.Thread(target=lambda: got.extend(iter(process.stdout.readline, "")), daemon=True).start()  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}/hook", got
    finally:
        process.kill()
        process.wait()


@contextmanager
def hanging():
    """A port on which everybody is let in and nobody is answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


class Broker:
    """mosquitto with TLS and a password, and what is published at it."""

    def __init__(self, folder, operator):
        self.folder, self.port, self.process, self.reader = folder, free_port(), None, None
        folder.mkdir()
        folder.chmod(0o755)
        for path in (operator.certificate, operator.key, operator.ca / "ca.pem"):
            shutil.copy(path, folder / path.name)
            (folder / path.name).chmod(0o644)
        subprocess.run([str(Path(MOSQUITTO).with_name("mosquitto_passwd")) if Path(MOSQUITTO).with_name("mosquitto_passwd").exists() else "mosquitto_passwd", "-b", "-c", str(folder / "users"), "cam", "right"], check=True, capture_output=True)  # fmt: skip
        (folder / "users").chmod(0o644)
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {folder}/users\n"
            f"cafile {folder}/ca.pem\ncertfile {folder}/{operator.certificate.name}\n"
            f"keyfile {folder}/{operator.key.name}\nuser root\n"
        )
        self.got = []

    def start(self):
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)  # fmt: skip
        wait_until(lambda: listens(self.port), 60, "the broker")
        self._listen()

    def _listen(self):
        from paho.mqtt import client, enums

        self.reader = client.Client(enums.CallbackAPIVersion.VERSION2)
        self.reader.username_pw_set("cam", "right")
        self.reader.tls_set(str(self.folder / "ca.pem"))
        ready = threading.Event()
        self.reader.on_message = lambda _c, _d, message: self.got.append((message.topic, message.payload))  # fmt: skip
        self.reader.on_subscribe = lambda *_: ready.set()
        self.reader.on_connect = lambda c, *_: c.subscribe("#", qos=1)
        self.reader.connect("127.0.0.1", self.port)
        self.reader.loop_start()
        assert ready.wait(30)

    def stop(self):
        if self.reader is not None:
            self.reader.disconnect()
            self.reader.loop_stop()
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def eventually(reached, what, seconds=60):
    """As wait_until(), looking ten times a second."""

    def look():
        time.sleep(0.1)
        return reached()

    wait_until(look, seconds, what)
