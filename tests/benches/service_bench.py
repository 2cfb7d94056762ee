"""A service of a model in this process, and what its clients send."""

import contextlib
import http.client
import io
import json
import socket
import threading

import numpy as np
from PIL import Image

from edgeveil.agent.inference.runtime import open_model
from edgeveil.agent.inference.serving import service
from edgeveil.agent.inference.serving import slot as slots

TOKEN = "a1" * 32


class Served:
    """`where`: a port of loopback, or the path of a Unix socket."""

    def __init__(self, path, where=("127.0.0.1", 0)):
        self.said, self.where = [], where
        self.slot = slots.Slot(path, open_model, self.said.append)
        self.server = service.Server(where, self.slot, TOKEN if isinstance(where, tuple) else None)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def ask(self, method, path, body=None, **headers):
        status, _, data = self.told(method, path, body, **headers)
        return status, json.loads(data)

    def told(self, method, path, body=None, **headers):
        """(status, headers, body) as they come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        if not isinstance(self.where, tuple):
            connection.sock = self.link()
        known = {"Authorization": f"Bearer {TOKEN}"} | {key.replace("_", "-"): value for key, value in headers.items()}  # fmt: skip
        connection.request(method, path, body, {key: value for key, value in known.items() if value is not None})  # fmt: skip
        found = connection.getresponse()
        return found.status, found.headers, found.read()

    def link(self):
        if isinstance(self.where, tuple):
            return socket.create_connection(("127.0.0.1", self.port), timeout=20)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(20)
        made.connect(str(self.where))
        return made

    def raw(self, data, *, ends=True):
        """All that comes back for these bytes."""
        found = b""
        with self.link() as link, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            link.sendall(data)
            if ends:
                link.shutdown(socket.SHUT_WR)
            while part := link.recv(1 << 16):
                found += part
        return found

    def metrics(self):
        """Value by sample."""
        text = self.told("GET", "/metrics")[2].decode()
        return dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def png(raw):
    made = io.BytesIO()
    Image.fromarray(raw).save(made, "png")
    return made.getvalue()


def npz(raw):
    made = io.BytesIO()
    np.savez(made, X=raw)
    return made.getvalue()
