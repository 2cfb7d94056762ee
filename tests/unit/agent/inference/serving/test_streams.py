"""Many inputs over one connection: an answer for each line as it comes, within limits, whatever the pieces."""

import base64
import contextlib
import json
import threading
import time

import pytest
from models_bench import VECTORS, pictures
from service_bench import TOKEN, png

from edgeveil.agent.inference.runtime import open_model
from edgeveil.agent.inference.serving import answers as answering
from edgeveil.agent.inference.serving import limits

HEAD = f"POST /v1/stream HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


def line(**values):
    return json.dumps(values).encode() + b"\n"


def of_file(raw):
    return line(file=base64.b64encode(png(raw)).decode())


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def answers(found):
    """Of the bytes of one whole answer in chunks."""
    head, _, body = found.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0]
    text = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        text, body = text + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return [json.loads(each) for each in text.splitlines()]


def streamed(served, data):
    return served.told("POST", "/v1/stream", data)[2].splitlines()


def test_files_and_values_get_what_predict_says_of_them_in_order(served):
    raw = pictures(3, 8, 8)
    opened = open_model(VECTORS / "cnn.evm")
    wanted = [each.label for each in opened.predict(raw)]
    sent = of_file(raw[0]) + b"\n  \n" + line(values=(raw[1] / 255).tolist()) + of_file(raw[2]).rstrip()  # fmt: skip
    for body in (sent, iter([sent[:10], sent[10:300], sent[300:]])):  # by length, and in chunks
        found = [json.loads(each) for each in streamed(served, body)]
        assert [each["label"] for each in found] == wanted
        assert {each["model"] for each in found} == {opened.digest}


def test_an_answer_comes_while_the_connection_still_sends(served):
    with served.link() as link:
        link.sendall(HEAD + chunk(of_file(pictures(1, 8, 8)[0])))
        found = b""
        while b'"label"' not in found:
            found += link.recv(4096)
        link.sendall(chunk(b"{") + chunk(b"}\n") + b"0\r\n\r\n")
        while part := link.recv(4096):
            found += part
    assert [list(each) for each in answers(found)][1:] == [["error"]]
    assert found.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("sent", [
    b"hello", b"\xff\xfe\x00", b"[1]", b"{}", b'{"file": ""}', b'{"file": "*"}', b'{"file": "aGVsbG8="}', b'{"file": "eA==", "values": [1]}', b'{"path": "/etc/passwd"}',
    b'{"values": [[1], [1, 2]]}', b'{"values": ["a"]}', b'{"values": [true]}', b'{"values": []}', b'{"values": [1e999]}', b'{"values": [NaN]}', b'{"values": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    json.dumps({"values": [[2.0] * 8] * 8}).encode(), json.dumps({"values": [[[0.5] * 8] * 8] * 2}).encode(), b'{"values": [' + b"9" * 5000 + b"]}",
])  # fmt: skip
def test_a_line_that_cannot_be_used_gets_one_sentence_and_the_next_an_answer(served, sent):
    bad, good = (json.loads(each) for each in streamed(served, sent + b"\n" + of_file(pictures(1, 8, 8)[0])))  # fmt: skip
    assert list(bad) == ["error"]
    assert len(bad["error"]) < 300
    assert "label" in good


@pytest.mark.parametrize(("limit", "lines", "whole"), [(("MOST_LINE", 100), [b"x" * 101], 0), (("MOST_STREAMED", 100), [b"x" * 50] * 2, 0), (("MOST_LINES", 2), [b"x"] * 3, 2), (("STREAM_S", 0.0), [b"x"], 0)])  # fmt: skip
def test_beyond_a_limit_the_stream_says_so_and_ends(served, monkeypatch, limit, lines, whole):
    monkeypatch.setattr(limits, *limit)
    *found, last = (json.loads(each) for each in streamed(served, iter([b"\n".join(lines) + b"\n"])))  # fmt: skip
    assert list(last) == ["ended"]
    assert len(found) == whole


@pytest.mark.parametrize("body", [b"5;a=" + b"b" * 100 + b"\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n", b"5\nhello\n", b"fffffffff\r\n", b"5\r\nhelloworld\r\n", b"5\r\nhel", b"", b"\r\n" * 20])  # fmt: skip
def test_chunks_that_lie_end_the_stream(served, body):
    assert list(answers(served.raw(HEAD + body))[-1]) == ["ended"]


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked\r\nContent-Length: 5", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Content-Length: 1\r\nContent-Length: 2", "X: y"])  # fmt: skip
def test_a_body_whose_end_is_disputable_is_refused(served, framing):
    head = f"POST /v1/stream HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n{framing}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    found = served.raw(head.encode())
    assert b" 411 " in found.splitlines()[0]
    assert found.count(b"HTTP/1.1 ") == 1


def test_silence_and_a_trickle_end_a_stream(served, monkeypatch):
    monkeypatch.setattr(limits, "IDLE_S", 0.3)
    assert "nothing came" in answers(served.raw(HEAD, ends=False))[-1]["ended"]
    monkeypatch.setattr(limits, "LINE_S", 0.5)
    began = time.monotonic()
    with served.link() as link:
        link.sendall(HEAD)
        with contextlib.suppress(OSError):
            for _ in range(200):
                link.sendall(chunk(b"x"))
                time.sleep(0.1)
    assert time.monotonic() - began < 10


def test_more_streams_than_there_are_places_are_told_to_come_again_and_places_come_back(served):
    links = [served.link() for _ in range(limits.MOST_STREAMS)]
    for link in links:
        link.sendall(HEAD)
        link.recv(0)
    end = time.monotonic() + 20
    while served.told("POST", "/v1/stream", b"x")[0] != 503:
        assert time.monotonic() < end
    assert served.told("POST", "/v1/stream", b"x")[1]["Retry-After"] == "1"
    assert served.ask("POST", "/v1/predict", png(pictures(1, 8, 8)[0]))[0] == 200, "others still ask"  # fmt: skip
    for link in links:
        link.close()
    while served.told("POST", "/v1/stream", b"x")[0] != 200:
        assert time.monotonic() < end


def test_a_stream_waits_for_its_turn(served):
    for _ in range(limits.MOST_AT_ONCE):
        assert served.server.places.acquire(blocking=False)
    threading.Timer(0.3, served.server.places.release).start()
    (found,) = streamed(served, of_file(pictures(1, 8, 8)[0]))
    assert "label" in json.loads(found)


def test_a_stream_needs_the_token_before_its_body(served):
    found = served.raw(HEAD.replace(TOKEN.encode(), b"b" * 64) + chunk(b"x"))
    assert b" 401 " in found.splitlines()[0]


def test_a_line_of_more_numbers_than_a_record_has_is_refused_before_they_are_made(monkeypatch):
    taken, made = open_model(VECTORS / "cnn.evm").input, []
    monkeypatch.setattr(answering.Line, "model_validate_json", made.append)
    found = answering.item_of(line(values=[0.5] * 1_000_000), taken)
    assert (found.record, found.why) == (None, "more values than a record has")
    assert made == []
