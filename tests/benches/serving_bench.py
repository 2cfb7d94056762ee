"""A model behind HTTP in this process, and a client that asks it once."""

import http.client
import io
import json
import threading

import numpy as np
from PIL import Image

from edgeveil.agent.inference.runtime import open_model
from edgeveil.agent.inference.serving import service

TOKEN = "a1" * 32


class Served:
    def __init__(self, path):
        self.said = []
        self.slot = service.Slot(path, open_model, self.said.append)
        self.server = service.Server(("127.0.0.1", 0), self.slot, TOKEN)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def ask(self, method, path, body=None, **headers):
        """(status, JSON)."""
        status, _, data = self.asked(method, path, body, **headers)
        return status, json.loads(data)

    def asked(self, method, path, body=None, **headers):
        """(status, headers, bytes)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        known = {"Authorization": f"Bearer {TOKEN}"} | {key.replace("_", "-"): value for key, value in headers.items()}  # fmt: skip
        connection.request(method, path, body, {key: value for key, value in known.items() if value is not None})  # fmt: skip
        found = connection.getresponse()
        return found.status, found.headers, found.read()

    def ask_status(self, method, path):
        return self.asked(method, path, b"" if method == "POST" else None)[0]

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
