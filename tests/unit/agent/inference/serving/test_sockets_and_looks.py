"""A Unix socket for the owner, the state for a supervisor, figures for Prometheus, and a description of it all."""

import base64
import http.client
import json
import os
import shutil
import socket
import stat
import threading

import jsonschema
import pytest
from models_bench import VECTORS, pictures
from openapi_spec_validator import validate
from serving_bench import npz, png

from edgeveil.agent.inference.runtime import open_model
from edgeveil.agent.inference.serving import limits, openapi, service
from edgeveil.shared.base.errors import ConfigError, StateDamaged

PICTURE = pictures(1, 8, 8)[0]


class OverUnix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


def health(link):
    link.request("GET", "/v1/health")
    return link.getresponse().status


@pytest.fixture
def slot():
    made = service.Slot(VECTORS / "cnn.evm", open_model, print)
    yield made
    made.close()


def test_on_a_unix_socket_the_owner_asks_without_a_token_and_it_goes_at_the_end(tmp_path, slot):
    path = tmp_path / "own" / "serve.sock"
    server = service.LocalServer(path, slot)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    link = OverUnix(path)
    for _ in range(2):
        link.request("POST", "/v1/predict", png(PICTURE))
        assert json.loads(link.getresponse().read())["label"]
    server.shutdown()
    server.server_close()
    assert not path.exists()


def test_another_user_gets_no_word_even_where_the_file_lets_him(tmp_path, slot, monkeypatch):
    server = service.LocalServer(tmp_path / "own" / "serve.sock", slot)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setattr(service, "_ROOT", -1)
    monkeypatch.setattr(service.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        health(OverUnix(tmp_path / "own" / "serve.sock"))
    server.shutdown()
    server.server_close()


def test_a_socket_that_a_dead_process_left_is_replaced_and_a_live_one_or_a_file_is_not(
    tmp_path, slot
):
    path = tmp_path / "serve.sock"
    path.parent.chmod(0o700)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    server = service.LocalServer(path, slot)
    with pytest.raises(ConfigError, match="another process answers there"):
        service.LocalServer(path, slot)
    server.server_close()
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is there and is no socket"):
        service.LocalServer(path, slot)
    assert path.read_text() == "mine"


def test_a_folder_that_others_may_enter_and_a_path_that_is_too_long_are_refused(tmp_path, slot):
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open" / "something").touch()
    with pytest.raises(StateDamaged, match="others may enter"):
        service.LocalServer(tmp_path / "open" / "serve.sock", slot)
    with pytest.raises(ConfigError, match="at most 107 bytes"):
        service.LocalServer(tmp_path / ("x" * 107), slot)


def test_a_supervisor_needs_no_token_and_learns_nothing_of_the_model(served):
    assert served.ask("GET", "/v1/health", Authorization=None) == (200, {"status": "serving"})
    for path in ("/metrics", "/v1/model"):
        assert served.ask("GET", path, Authorization=None)[0] == 401


def test_the_metrics_count_requests_records_and_swaps_and_name_no_label_or_path(served, tmp_path):
    rows = pictures(3, 8, 8) / 255
    rows[1, 0, 0] = 2
    served.ask("POST", "/v1/predict", png(PICTURE))
    served.ask("POST", "/v1/predict", npz(rows), Content_Type=limits.ARRAYS)
    served.ask("POST", "/v1/predict", b"no picture")
    served.ask("POST", "/v1/hidden-path", b"")
    shutil.copy(VECTORS / "cnn.evm", tmp_path / "same.evm")
    status, headers, text = served.asked("GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    lines = text.decode().splitlines()
    for wanted in (
        'edgeveil_serve_requests_total{route="/v1/predict",status="200"} 2',
        'edgeveil_serve_requests_total{route="/v1/predict",status="422"} 1',
        'edgeveil_serve_requests_total{route="other",status="404"} 1',
        'edgeveil_serve_records_total{usable="yes"} 3',
        'edgeveil_serve_records_total{usable="no"} 2',
        "edgeveil_serve_request_seconds_count 3",
        "edgeveil_serve_model_swaps_total 0",
        "# EOF",
    ):
        assert wanted in lines
    labels = served.slot.current().manifest.output.labels
    assert not any(label in text.decode() for label in (*labels, "hidden-path", str(tmp_path)))


def test_the_description_is_openapi_and_true_of_what_is_answered(served):
    told = served.ask("GET", "/v1/openapi.json", Authorization=None)[1]
    validate(told)
    schemas = {"components": told["components"]}
    line = {"id": "a", "file": base64.b64encode(png(PICTURE)).decode()}
    body = json.dumps(line).encode() + b"\n{}\n"
    stream = [json.loads(each) for each in served.asked("POST", "/v1/stream", body)[2].splitlines()]
    rows = pictures(2, 8, 8) / 255
    rows[1, 0, 0] = 2
    cases = [
        ("Answered", served.ask("POST", "/v1/predict", png(PICTURE))[1]),
        (
            "Predictions",
            served.ask("POST", "/v1/predict", npz(rows), Content_Type=limits.ARRAYS)[1],
        ),
        ("Refusal", served.ask("POST", "/v1/predict", b"no picture")[1]),
        ("Refusal", served.ask("GET", "/v1/model", Authorization=None)[1]),
        ("Served", served.ask("GET", "/v1/model")[1]),
        ("Health", served.ask("GET", "/v1/health")[1]),
        ("Line", line),
        *(("Streamed", each) for each in stream),
    ]
    for name, value in cases:
        jsonschema.validate(value, {"$ref": f"#/components/schemas/{name}", **schemas})
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(
                ["no", "object"], {"$ref": f"#/components/schemas/{name}", **schemas}
            )


def test_every_route_that_is_described_is_answered_and_every_other_is_not(served):
    for path, methods in openapi.description()["paths"].items():
        for method in methods:
            assert served.ask_status(method.upper(), path) != 404
    for path in ("/", "/v1", "/v1/predict/", "/v1/Predict"):
        assert served.ask("GET", path)[0] == served.ask("POST", path, b"")[0] == 404


def test_a_get_that_has_a_body_is_the_last_of_its_connection(served):
    link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    for body, kept in ((None, "keep-alive"), (None, "keep-alive"), (b"x", "close")):
        link.request("GET", "/v1/health", body)
        found = link.getresponse()
        found.read()
        assert found.headers["Connection"] == kept
