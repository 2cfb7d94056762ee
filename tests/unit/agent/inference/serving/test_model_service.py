"""A model behind HTTP: the token first, limits before work, a new file between two requests."""

import contextlib
import http.client
import io
import shutil
import socket
import threading
import time

import numpy as np
import pytest
from models_bench import VECTORS, pictures, resigned
from service_bench import TOKEN, Served, npz, png

from edgeveil.agent.inference.runtime import open_model
from edgeveil.agent.inference.serving import limits, service
from edgeveil.agent.inference.serving import slot as slots
from edgeveil.shared.base.errors import ConfigError, ModelError
from edgeveil.shared.models.package import read_package


def test_a_picture_gets_what_predict_says_of_it(served):
    raw = pictures(1, 8, 8)[0]
    status, found = served.ask("POST", "/v1/predict", png(raw))
    (wanted,) = open_model(VECTORS / "cnn.evm").predict(raw)
    assert status == 200
    assert (found["label"], found["scores"]) == (wanted.label, dict(wanted.scores))


def test_arrays_get_an_answer_for_each_record(served):
    rows = pictures(3, 8, 8) / 255
    rows[1, 0, 0] = 2
    status, found = served.ask("POST", "/v1/predict", npz(rows), Content_Type=limits.ARRAYS)
    assert status == 200
    assert [list(each) for each in found["predictions"]] == [["label", "score", "scores"], ["error"], ["label", "score", "scores"]]  # fmt: skip


def test_an_archive_that_unpacks_to_too_much_is_refused_by_its_directory(served):
    made = io.BytesIO()
    np.savez_compressed(made, X=np.zeros((1_100_000, 8, 8), np.uint8))
    assert len(made.getvalue()) < 1 << 20
    status, found = served.ask("POST", "/v1/predict", made.getvalue(), Content_Type=limits.ARRAYS)
    assert status == 200
    assert "at most" in found["predictions"][0]["error"]


def test_the_manifest_is_given(served):
    status, found = served.ask("GET", "/v1/model")
    assert status == 200
    assert found["manifest"]["output"]["labels"] == ["apple", "pear", "plum"]


@pytest.mark.parametrize("given", [None, "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}0", "Bearer é"])  # fmt: skip
def test_nobody_gets_in_without_the_token(served, given):
    for method, path in (("GET", "/v1/model"), ("POST", "/v1/predict"), ("GET", "/")):
        assert served.ask(method, path, b"x" if method == "POST" else None, Authorization=given)[0] == 401  # fmt: skip


def test_what_cannot_be_used_is_refused_in_one_sentence(served):
    for status, body, headers in (
        (422, b"hello", {}),
        (422, b"", {}),
        (413, b"x", {"Content_Length": str(limits.MOST_BODY + 1)}),
        (413, b"x", {"Content_Length": "9" * 30}),
        (411, b"x", {"Content_Length": "-1"}),
    ):
        found = served.ask("POST", "/v1/predict", body, **headers)
        assert found[0] == status, found
        assert "\n" not in found[1]["error"]
    assert served.ask("POST", "/v1/other", b"x")[0] == 404
    assert served.ask("POST", "/v1/predict", b"x", Content_Type=limits.ARRAYS)[1]["predictions"][0]["error"]  # fmt: skip


def test_a_broken_request_ends_nothing(served):
    for data in (b"\0\xff\n\n", b"GET\r\n\r\n", b"POST /v1/predict HTTP/1.1\r\nContent-Length: 5\r\n\r\n"):  # fmt: skip
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as link:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            link.recv(4096)
    assert served.ask("GET", "/v1/model")[0] == 200


def test_a_connection_answers_one_whole_request_after_another_and_ends_with_one_that_was_not_read(
    served,
):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    told = {"Authorization": f"Bearer {TOKEN}"}
    for body, status in ((png(pictures(1, 8, 8)[0]), 200), (b"hello", 422), (png(pictures(1, 8, 8)[0]), 200)):  # fmt: skip
        connection.request("POST", "/v1/predict", body, told)
        link, found = connection.sock, connection.getresponse()
        assert (found.status, bool(found.read())) == (status, True)
        assert connection.sock is link, "the same connection"
    smuggled = (
        b"POST /v1/predict HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /v1/model HTTP/1.1\r\n\r\n"
    )
    twice = smuggled.replace(b"Content-Length: 5", f"Authorization: Bearer {TOKEN}\r\nContent-Length: 5\r\nContent-Length: 0".encode())  # fmt: skip
    for data, status in ((smuggled, b" 401 "), (twice, b" 411 ")):
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as link:
            link.sendall(data)
            found = b""
            with contextlib.suppress(ConnectionResetError):  # what was not read
                while part := link.recv(4096):
                    found += part
            assert status in found
            assert found.count(b"HTTP/1.1 ") == 1


def test_a_body_is_asked_for_only_of_those_who_have_the_token(served):
    body = png(pictures(1, 8, 8)[0])
    for token, first in ((TOKEN, b"HTTP/1.1 100 "), ("b" * 64, b"HTTP/1.1 401 ")):
        head = f"POST /v1/predict HTTP/1.1\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as link:
            link.sendall(head.encode())
            assert link.recv(4096).startswith(first)
            if token == TOKEN:
                link.sendall(body)
                assert link.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_silent_connections_keep_nobody_out_for_long(served):
    silent = [socket.create_connection(("127.0.0.1", served.port), timeout=20) for _ in range(limits.MOST_CONNECTIONS)]  # fmt: skip
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as link:
        found = link.recv(4096)
        assert found.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in found
        assert link.recv(1) == b"", "closed, not queued"
    for link in silent:
        link.close()
    end = time.monotonic() + 20
    while True:
        try:
            assert served.ask("GET", "/v1/model")[0] == 200
            break
        except OSError:  # the places of those that left are not free yet
            assert time.monotonic() < end
            time.sleep(0.1)


def test_a_head_that_trickles_in_is_cut_however_steadily_it_comes(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "HEAD_S", 0.5)
    shutil.copy(VECTORS / "cnn.evm", tmp_path / "bag.evm")
    made, began = Served(tmp_path / "bag.evm"), time.monotonic()
    with socket.create_connection(("127.0.0.1", made.port), timeout=20) as link:
        with contextlib.suppress(OSError):
            for _ in range(100):
                link.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - began < 5
    made.close()


def test_more_records_than_a_request_may_hold_are_not_made_into_records(served, monkeypatch):
    monkeypatch.setattr(limits, "MOST_RECORDS", 3)
    body = npz(np.zeros((4, 8, 8), np.float32))
    assert served.ask("POST", "/v1/predict", body, Content_Type=limits.ARRAYS)[0] == 413


def test_a_file_by_another_signer_takes_no_place_where_nobody_vouches_for_either(served, tmp_path):
    first = served.ask("GET", "/v1/model")[1]["model"]
    put(tmp_path, resigned(read_package(VECTORS / "cnn.evm"), key=b"\x07" * 32))
    until(
        served, lambda _: any("not by the key of the model in use" in each for each in served.said)
    )
    assert served.ask("GET", "/v1/model")[1]["model"] == first


def test_more_requests_at_once_than_there_are_places_are_told_so(served):
    for _ in range(limits.MOST_AT_ONCE):
        assert served.server.places.acquire(blocking=False)
    assert served.ask("POST", "/v1/predict", png(pictures(1, 8, 8)[0]))[0] == 503
    status, headers, _ = served.told("POST", "/v1/predict", b"x" * limits.DRAINED)
    assert (status, headers["Retry-After"], headers["Connection"]) == (503, "1", "keep-alive")
    served.server.places.release()
    assert served.ask("POST", "/v1/predict", png(pictures(1, 8, 8)[0]))[0] == 200
    assert served.ask("POST", "/v1/predict", png(pictures(1, 8, 8)[0]))[0] == 200, "places come back"  # fmt: skip


def test_a_new_file_takes_the_old_ones_place_and_a_bad_one_does_not(served, tmp_path):
    first = served.ask("GET", "/v1/model")[1]["model"]
    put(tmp_path, resigned(read_package(VECTORS / "cnn.evm"), licence="another"))
    second = until(served, lambda found: found["model"] != first)
    put(tmp_path, b"no package")
    until(served, lambda _: any("stays in use" in each for each in served.said))
    assert served.ask("GET", "/v1/model")[1]["model"] == second["model"]
    (tmp_path / "bag.evm").unlink()
    time.sleep(slots.LOOK_S)
    assert served.ask("GET", "/v1/model")[1]["model"] == second["model"]


def test_no_request_fails_or_waits_while_models_are_swapped(tmp_path, monkeypatch):
    monkeypatch.setattr(slots, "LOOK_S", 0.02)
    shutil.copy(VECTORS / "cnn.evm", tmp_path / "bag.evm")
    made, picture = Served(tmp_path / "bag.evm"), png(pictures(1, 8, 8)[0])
    done, found = threading.Event(), []

    def ask():
        while not done.is_set():
            found.append(made.ask("POST", "/v1/predict", picture))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for each in askers:
        each.start()
    for number in range(10):
        put(tmp_path, resigned(read_package(VECTORS / "cnn.evm"), licence=f"number {number}"))
        wanted = read_package(tmp_path / "bag.evm").digest
        until(made, lambda answer, wanted=wanted: answer["model"] == wanted)
    done.set()
    for each in askers:
        each.join()
    made.close()
    assert {status for status, _ in found} == {200}
    assert len({answer["model"] for _, answer in found}) > 5


def put(folder, data):
    (folder / "new").write_bytes(data)
    (folder / "new").replace(folder / "bag.evm")


def until(served, reached, *, within_s=20):
    end = time.monotonic() + within_s
    while not reached(found := served.ask("GET", "/v1/model")[1]):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "::"])
def test_no_address_but_loopback_is_listened_on(tmp_path, host):
    slot = slots.Slot(VECTORS / "cnn.evm", open_model, print)
    with pytest.raises(ConfigError, match="loopback"):
        service.Server((host, 0), slot, TOKEN)


def test_health_needs_no_token_and_tells_nothing_else(served, monkeypatch):
    assert served.ask("GET", "/v1/health", Authorization=None) == (200, {"serving": True})

    def fails(*_):
        raise ModelError("out of memory")

    opened = served.slot.current()
    with monkeypatch.context() as broken:
        broken.setattr(opened, "said", fails)
        assert served.ask("POST", "/v1/predict", png(pictures(1, 8, 8)[0])) == (500, {"error": "out of memory"})  # fmt: skip
        assert served.ask("POST", "/v1/predict", b"hello")[0] == 422
        assert served.ask("GET", "/v1/health", Authorization=None) == (503, {"serving": False})
    assert served.ask("POST", "/v1/predict", png(pictures(1, 8, 8)[0]))[0] == 200
    assert served.ask("GET", "/v1/health", Authorization=None) == (200, {"serving": True})


def test_a_thousand_connections_end_nothing(served):
    links = [socket.socket() for _ in range(1000)]
    for link in links:
        link.setblocking(False)  # whoever finds no room knocks again by itself
        link.connect_ex(("127.0.0.1", served.port))
    time.sleep(3.5)  # they knock after 1 s and 3 s
    assert threading.active_count() < 2 * limits.MOST_CONNECTIONS
    for link in links:
        link.close()
    assert until_asked(served)["connections_refused"] > 0


@pytest.mark.parametrize("head", [b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"GET /v1/health HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"GET /v1/health HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", b"GET \xff\xfe HTTP/1.1\r\n\r\n"])  # fmt: skip
def test_a_huge_or_odd_head_gets_no_answer_but_an_error(served, head):
    found = served.raw(head)
    assert b" 200 " not in found
    assert served.ask("GET", "/v1/health")[0] == 200


def until_asked(served):
    """Metrics without their labels, as soon as there is a place."""
    end = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError):
            if found := served.metrics():  # nothing where it was turned away
                return {name.removeprefix("edgeveil_serving_").partition("_total")[0]: float(value) for name, value in found.items()}  # fmt: skip
        assert time.monotonic() < end
        time.sleep(0.1)
