"""One POST: what counts as taken, whom nothing is sent to, and how long it may take."""

import http.server
import json
import socket
import threading
import time

import pytest

from edgeveil.agent.forwarding import posting
from edgeveil.agent.forwarding.consequences import Consequences
from edgeveil.agent.forwarding.posting import Poster
from edgeveil.agent.forwarding.trusted import Refused, Undelivered
from edgeveil.agent.rules.actions import PostAction
from edgeveil.agent.rules.rule_file import read_rules
from edgeveil.shared.base.errors import ConfigError, StateDamaged

HOSTILE = ["fall\r\nX-Evil: 1", "'\"\\", "$(touch owned)", "a" * 10_000, "\x1b[31m", "\u202e", "é中", "\udcff", "\0", "</script>", ""]  # fmt: skip


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    made.got, made.status = [], 200
    made.url = f"http://127.0.0.1:{made.server_address[1]}"
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def poster(folder, url, **more):
    return Poster(PostAction(url=url, **more), lambda name: folder / name)


def secret(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path.name


@pytest.mark.parametrize(("status", "kind"), [(200, None), (204, None), (301, Undelivered), (307, Undelivered), (400, Refused), (401, Undelivered), (404, Undelivered), (413, Refused), (422, Refused), (429, Undelivered), (503, Undelivered)])  # fmt: skip
def test_only_a_yes_is_taken_and_nothing_is_followed(receiver, tmp_path, status, kind):
    receiver.status = status
    if kind is None:
        poster(tmp_path, receiver.url + "/a?b=c").post(b"{}")
    else:
        with pytest.raises(kind, match=str(status)):
            poster(tmp_path, receiver.url + "/a?b=c").post(b"{}")
    assert [path for path, _, _ in receiver.got] == ["/a?b=c"]


def test_the_token_is_read_for_each_post_and_proxies_are_not_asked(receiver, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    made = poster(tmp_path, receiver.url, token_file=secret(tmp_path / "t", "first\n"))
    made.post(b"{}")
    secret(tmp_path / "t", "second")
    made.post(b"{}")
    assert [headers["Authorization"] for _, headers, _ in receiver.got] == ["Bearer first", "Bearer second"]  # fmt: skip
    (tmp_path / "t").chmod(0o644)
    with pytest.raises(Undelivered, match="readable by others"):
        made.post(b"{}")


@pytest.mark.parametrize("text", ["", "two words", "line\r\nX-Evil: 1", "é"])
def test_what_is_no_token_is_refused_at_the_start(tmp_path, text):
    with pytest.raises(ConfigError, match="no token"):
        poster(tmp_path, "https://a.example/", token_file=secret(tmp_path / "t", text))
    with pytest.raises(StateDamaged):
        poster(tmp_path, "https://a.example/", token_file="gone")


@pytest.mark.parametrize(
    "drip", [b"", b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n"]
)
def test_a_receiver_that_never_comes_to_an_end_is_left(tmp_path, monkeypatch, drip):
    monkeypatch.setattr(posting, "TOTAL_S", 0.6)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(4)

        def answer():
            link, _ = listener.accept()
            try:
                while True:
                    link.sendall(drip[:40])
                    time.sleep(0.05)
            except OSError:
                link.close()

        threading.Thread(target=answer, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(Undelivered):
            poster(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}/").post(b"{}")
        assert time.monotonic() - began < 9


def test_an_answer_that_is_no_http_is_a_failure(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(4)

        def answer():
            link, _ = listener.accept()
            link.sendall(b"\0\xff nonsense\r\n" * 100)
            link.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(Undelivered):
            poster(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}/").post(b"{}")


def test_hostile_labels_arrive_as_they_are_inside_json_and_nowhere_else(receiver, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text(f'[[rule]]\nname = "any"\nwhen = "true"\nwebhook = "{receiver.url}/hook"\n[forward]\nurl = "{receiver.url}/results"\n')  # fmt: skip
    rules.chmod(0o600)
    made = Consequences(read_rules(rules), tmp_path / "home", "serve", print)
    for at, label in enumerate(HOSTILE):
        made.happened({"label": label, "wrong_way": False, "stopped": False}, "ab" * 32, float(at))
    made.close(30.0)
    alarms = [json.loads(body) for path, _, body in receiver.got if path == "/hook"]
    results = [each for path, _, body in receiver.got if path == "/results" for each in json.loads(body)["results"]]  # fmt: skip
    assert [alarm["label"] for alarm in alarms] == HOSTILE
    assert [result["label"] for result in results] == [label[:200] for label in HOSTILE]
    assert all(set(result) == {"id", "time", "model", "label", "value"} for result in results)
    assert not any("X-Evil" in headers for _, headers, _ in receiver.got)
    assert len({each["id"] for each in alarms + results}) == 2 * len(HOSTILE)
