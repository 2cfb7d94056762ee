"""Records that come one after the other over one connection: each answered when it has come, bounded line by line."""

import base64
import http.client
import json
import socket
import threading
import time

import pytest
from models_bench import VECTORS, pictures, resigned
from serving_bench import TOKEN, png

from edgeveil.agent.inference.runtime import open_model
from edgeveil.agent.inference.serving import answers, bodies, limits
from edgeveil.shared.models.package import read_package

PICTURE = pictures(1, 8, 8)[0]


def line(number=0, **changes):
    values = {"id": f"frame {number}", "file": base64.b64encode(png(PICTURE)).decode()} | changes
    return json.dumps({key: value for key, value in values.items() if value is not None}).encode()


class Stream:
    """A client that sends chunks and reads the lines of the answer, each when it asks."""

    def __init__(self, served):
        self.link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        self.link.putrequest("POST", "/v1/stream")
        for name, value in (("Authorization", f"Bearer {TOKEN}"), ("Transfer-Encoding", "chunked")):
            self.link.putheader(name, value)
        self.link.endheaders()
        self.found = None

    def send(self, data):
        self.link.send(b"%x\r\n%b\r\n" % (len(data), data) if data else b"0\r\n\r\n")

    def answer(self):
        if self.found is None:
            self.found = self.link.getresponse()
        got = self.found.readline()
        return json.loads(got) if got else None


def test_each_record_is_answered_before_the_next_is_sent(served):
    stream = Stream(served)
    wanted = served.ask("POST", "/v1/predict", png(PICTURE))[1]
    for number in range(3):
        stream.send(line(number) + b"\n")
        assert stream.answer() == wanted | {"id": f"frame {number}"}
    stream.send(b"")
    assert stream.answer() is None
    assert stream.found.status == 200
    assert stream.found.headers["Content-Type"] == limits.LINES


def test_lines_may_come_in_pieces_of_any_size_and_the_last_needs_no_end(served):
    stream, sent = Stream(served), line(1) + b"\n\n" + line(2)
    for at in range(0, len(sent), 7):
        stream.send(sent[at : at + 7])
    stream.send(b"")
    assert [stream.answer()["id"] for _ in range(2)] == ["frame 1", "frame 2"]
    assert stream.answer() is None


def test_a_body_of_a_stated_length_is_a_stream_too_and_the_connection_goes_on(served):
    link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    for _ in range(2):
        link.request("POST", "/v1/stream", line(1) + b"\n" + line(2) + b"\n", {"Authorization": f"Bearer {TOKEN}"})  # fmt: skip
        found = [json.loads(each) for each in link.getresponse().read().splitlines()]
        assert [each["id"] for each in found] == ["frame 1", "frame 2"]
        assert len({each["label"] for each in found}) == 1


def test_values_are_a_record_like_its_file(served):
    values = (PICTURE.astype(float) / 255).tolist()
    found = answers.of_line(served.slot.current(), line(values=values, file=None))
    assert found == answers.of_line(served.slot.current(), line())
    assert "label" in found


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"{", "not a record at all"),
        (b"\xff\xfe", "not a record at all"),
        (b"[" * 100_000, "not a record at all"),
        (b'{"id": 3, "file": ""}', "not a record at id"),
        (b'{"id": "a", "more": 1, "file": ""}', "not a record at more"),
        (line(id="x" * 201), "not a record at id"),
        (line(file=None), "give `file` or `values`"),
        (line(values=[1.0]), "give `file` or `values`"),
        (line(file="no base64!"), "`file` is not base64"),
        (line(file=base64.b64encode(b"no picture").decode()), "picture"),
        (line(file=None, values=[[0.5], [0.5, 0.1]]), "no shape"),
        (line(file=None, values=[["0.5"] * 8] * 8), "not all numbers"),
        (line(file=None, values=[[1e999] * 8] * 8), ""),
        (line(file=None, values=[[2.0] * 8] * 8), "not in 0..1"),
        (line(file=None, values=[[[0.5] * 8] * 8] * 2), "holds several records"),
        (line(file=None, values=[0.5]), "the model takes"),
        (b'{"file": null, "values": [' + b"1" * 5000 + b"]}", ""),
    ],
)
def test_a_line_that_is_no_record_has_its_own_sentence_and_the_next_is_answered(served, sent, said):
    stream = Stream(served)
    stream.send(sent + b"\n")
    found = stream.answer()
    assert said in found["error"]
    assert "/proc/" not in found["error"]
    stream.send(line(9) + b"\n")
    assert stream.answer()["id"] == "frame 9"
    stream.send(b"")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"zz\r\n", "does not say its size"),
        (b"-1\r\n", "does not say its size"),
        (b"123456789\r\n", "does not say its size"),
        (b"1" * 300 + b"\r\n", "does not say its size"),
        (b"2\r\n{}more", "longer than it says"),
        (b"0\r\n" + b"a: b\r\n" * 100, "do not end"),
        (b"5\r\n{", "ends early"),
    ],
)
def test_chunks_that_lie_end_the_stream_and_its_connection_with_a_sentence(served, body, why):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as link:
        head = f"POST /v1/stream HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
        link.sendall(head.encode() + body)
        link.shutdown(socket.SHUT_WR)
        found = b"".join(iter(lambda: link.recv(4096), b""))
    assert found.startswith(b"HTTP/1.1 200 ")
    assert why.encode() in found
    assert found.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("size", [64, 65, 200_000])
def test_a_line_that_is_too_long_is_refused_when_it_is_and_not_at_its_end(
    served, monkeypatch, size
):
    monkeypatch.setattr(limits, "MOST_LINE", 63)
    stream = Stream(served)
    stream.send(b"x" * size)
    assert "at most 63 bytes" in stream.answer()["error"]
    assert stream.answer() is None


def test_both_a_length_and_chunks_or_neither_are_refused_before_the_stream_begins(served):
    for told in ({}, {"Transfer-Encoding": "gzip"}, {"Transfer-Encoding": "chunked", "Content-Length": "5"}):  # fmt: skip
        link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        link.putrequest("POST", "/v1/stream")
        for name, value in {"Authorization": f"Bearer {TOKEN}", **told}.items():
            link.putheader(name, value)
        link.endheaders()
        assert link.getresponse().status == 411
        link.close()


def test_without_the_token_no_line_is_read(served):
    link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    link.request("POST", "/v1/stream", line(), {"Authorization": "Bearer " + "b" * 64})
    assert link.getresponse().status == 401


def test_streams_beyond_the_bound_are_told_to_come_again_and_places_come_back(served):
    open_now = [Stream(served) for _ in range(limits.MOST_AT_ONCE)]
    for each in open_now:
        each.send(line() + b"\n")
        assert "label" in each.answer()
    refused = Stream(served).link.getresponse()
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert served.ask("POST", "/v1/predict", png(PICTURE))[0] == 200, "no stream holds a place"
    for each in open_now:
        each.link.close()
    end = time.monotonic() + 20
    while (again := Stream(served)).link.getresponse().status != 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    again.link.close()


def test_a_stream_that_falls_silent_is_ended(served, monkeypatch):
    monkeypatch.setattr(limits, "QUIET_S", 0.5)
    stream, began = Stream(served), time.monotonic()
    stream.send(line() + b"\n")
    assert "label" in stream.answer()
    stream.send(b"{")
    while stream.answer() is not None:
        pass
    assert time.monotonic() - began < 10


def test_a_newer_model_answers_from_the_next_line_on_and_no_line_fails(tmp_path, served):
    stream, first = Stream(served), read_package(VECTORS / "cnn.evm").digest
    stream.send(line() + b"\n")
    assert stream.answer()["model"] == first
    data = resigned(read_package(VECTORS / "cnn.evm"), licence="another")
    (tmp_path / "new").write_bytes(data)
    (tmp_path / "new").replace(tmp_path / "bag.evm")
    wanted, end = read_package(tmp_path / "bag.evm").digest, time.monotonic() + 20
    while (found := (stream.send(line() + b"\n"), stream.answer())[1])["model"] != wanted:
        assert "label" in found
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_the_rules_see_of_a_stream_is_each_answer_that_is_one(served):
    seen = []
    served.server.seen = lambda found, model: seen.append((len(found), model))
    stream = Stream(served)
    for sent in (line(), b"{}", line()):
        stream.send(sent + b"\n")
        stream.answer()
    stream.send(b"")
    assert [count for count, _ in seen] == [1, 0, 1]
    assert {model for _, model in seen} == {open_model(VECTORS / "cnn.evm").digest}


def test_lines_of_a_body_are_the_same_however_it_is_cut(tmp_path):
    sent = b"a\n\n bb \r\nccc"
    for size in range(1, len(sent) + 1):
        blocks = iter([sent[at : at + size] for at in range(0, len(sent), size)])
        assert list(bodies._lines(blocks)) == [b"a", b"bb", b"ccc"]


def test_many_clients_stream_at_once(served):
    found = [[] for _ in range(4)]

    def one(place):
        stream = Stream(served)
        for number in range(20):
            stream.send(line(number) + b"\n")
            found[place].append(stream.answer()["id"])
        stream.send(b"")

    clients = [threading.Thread(target=one, args=(place,)) for place in range(4)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert found == [[f"frame {number}" for number in range(20)]] * 4
