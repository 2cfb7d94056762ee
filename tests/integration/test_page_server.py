"""The page's own server: who may look, what it answers, how soon it tells."""

import socket
import ssl
import threading
import time
from contextlib import ExitStack

import httpx
import pytest
from load_bench import slowed
from processes_bench import wait_until

from edgeveil.agent.reports.own_metrics import OwnMetrics
from edgeveil.agent.reports.page import owners_page
from edgeveil.coordinator.federation.certificates import ensure_authority, ensure_leaf
from edgeveil.coordinator.store.store import Store
from edgeveil.coordinator.watching.live import Live
from edgeveil.coordinator.watching.page_server import PageAddress
from edgeveil.coordinator.watching.page_server import dashboard as made_dashboard
from edgeveil.coordinator.watching.page_view import Pages
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.events.log import Event, EventLine, EventLog
from edgeveil.shared.events.tail import Tail
from edgeveil.shared.pages.bell import MOST_LISTENERS, Bell, TooMany
from edgeveil.shared.pages.door import Door, is_loopback, page_token, split_address
from edgeveil.shared.pages.server import bind

AGENTS = [{"name": "cam-1", "state": "connected", "last_seen": time.time()}]


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path, create=True) as opened:
        yield opened


def dashboard(tmp_path, store, wanted="127.0.0.1:0", tls=None):
    live = Live()
    pages = Pages("https://fl.example.org:8443", store, live, lambda: AGENTS)
    made = made_dashboard(PageAddress.of(wanted), tmp_path, pages, lambda: "# EOF\n", tls)
    made.start()
    return made, live


@pytest.fixture
def page(tmp_path, store):
    made, live = dashboard(tmp_path, store)
    with httpx.Client(base_url=made.url, trust_env=False) as client:
        wait_for(client)
        yield made, live, client
    made.stop()


def wait_for(client, path="/metrics"):
    until = time.monotonic() + 60
    while True:
        try:
            return client.get(path)
        except httpx.ConnectError:
            assert time.monotonic() < until, "the page's server did not start"
            time.sleep(0.05)


def test_the_front_page_is_html_that_nobody_may_frame_or_keep(page):
    _, _, client = page
    answer = client.get("/")
    assert answer.status_code == 200
    assert "fl.example.org" in answer.text
    assert "cam-1" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


def test_the_language_is_the_one_asked_for_or_the_browsers_first(page):
    _, _, client = page
    assert 'lang="zh-Hans"' in client.get("/?lang=zh").text
    assert 'lang="en"' in client.get("/", headers={"accept-language": "de, zh"}).text
    assert 'lang="zh-Hans"' in client.get("/", headers={"accept-language": "zh-CN, en"}).text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.7:8480", ""])
@pytest.mark.parametrize("path", ["/", "/metrics", "/events", "/runs/x"])
def test_a_foreign_name_for_this_machine_gets_nothing(page, host, path):
    _, _, client = page
    answer = client.get(path, headers={"host": host})
    assert answer.status_code in {400, 421}
    assert "cam-1" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/metrics", "/events"])
def test_it_can_only_be_read(page, method, path):
    _, _, client = page
    assert client.request(method, path).status_code == 405


@pytest.mark.parametrize(
    "path", ["/admin", "/../state.db", "/runs/", "/runs/nope", "/static/x", "/docs"]
)
def test_there_is_nothing_else(page, path):
    _, _, client = page
    assert client.get(path).status_code == 404


def test_whoever_watches_is_told_within_a_second(page):
    made, live, client = page
    heard, busy = [], slowed()
    with client.stream("GET", "/events", timeout=60) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines) == "data: 1"
        next(lines)

        def speak():
            time.sleep(0.3)
            live.take(EventLine(1.0, "info", "round.start", run="run-1", round=4, attempt=1))
            heard.append(time.monotonic())
            made.ring()

        threading.Thread(target=speak).start()
        assert next(lines) == "data: 2"
        took = time.monotonic() - heard[0]
    assert 0 <= took < max(busy, slowed())  # a second on an idle machine
    assert "4" in client.get("/").text


def test_there_is_room_for_so_many_watchers_and_no_more(page):
    made, _, client = page
    made._bell._listeners = {object() for _ in range(MOST_LISTENERS)}
    assert client.get("/events").status_code == 503
    made._bell._listeners = set()


def test_a_place_counts_before_its_stream_has_begun():
    bell = Bell()
    places = [bell.admit() for _ in range(MOST_LISTENERS)]
    with pytest.raises(TooMany):
        bell.admit()
    bell.leave(places[0])
    bell.admit()


def test_requests_that_come_together_do_not_get_more_places_than_there_are(page):
    """Each place is taken while its request is judged, and given back when its reader goes away."""
    made, _, client = page
    address = ("127.0.0.1", int(made.url.rstrip("/").rpartition(":")[2]))
    request = b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with ExitStack() as around:
        watchers = [around.enter_context(socket.create_connection(address)) for _ in range(60)]
        for watcher in watchers:
            watcher.sendall(request)
        told = sorted(watcher.recv(100).split(b" ")[1] for watcher in watchers)
        assert told == [b"200"] * MOST_LISTENERS + [b"503"] * (60 - MOST_LISTENERS)
        assert len(made._bell._listeners) == MOST_LISTENERS
    wait_until(lambda: not made._bell._listeners, 60, "the places given back")
    assert client.get("/metrics").status_code == 200


def test_elsewhere_it_speaks_tls_and_asks_for_the_token(tmp_path, store):
    ensure_authority(tmp_path / "tls")
    files = ensure_leaf(tmp_path / "tls", ["localhost"])
    made, _ = dashboard(tmp_path, store, "0.0.0.0:0", files)
    port = made.url.rstrip("/").rpartition(":")[2]
    assert made.url.startswith("https://")
    token = page_token(tmp_path / "page.token")
    assert (tmp_path / "page.token").stat().st_mode & 0o077 == 0
    trusted = ssl.create_default_context(cafile=tmp_path / "tls" / "ca.pem")
    with httpx.Client(base_url=f"https://localhost:{port}", verify=trusted, trust_env=False) as client:  # fmt: skip
        assert wait_for(client).status_code == 401
        for path in ("/", "/metrics", "/events", "/runs/x"):
            assert client.get(path).status_code == 401
            assert client.get(path, params={"token": token[:-1] + "x"}).status_code == 401
        bearer = {"authorization": f"Bearer {token}"}
        assert client.get("/metrics", headers=bearer).text == "# EOF\n"
        entered = client.get("/", params={"token": token, "lang": "zh"})
        assert entered.status_code == 303
        assert token not in entered.headers["location"]
        cookie = entered.headers["set-cookie"]
        assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=strict"))
        assert "cam-1" in client.get(entered.headers["location"]).text
    with pytest.raises(httpx.HTTPError), httpx.Client(trust_env=False) as plain:
        plain.get(f"http://localhost:{port}/").raise_for_status()
    made.stop()


def test_elsewhere_without_tls_it_is_not_shown_at_all(tmp_path, store):
    with pytest.raises(ConfigError, match="loopback only"):
        dashboard(tmp_path, store, "0.0.0.0:0")


def test_a_busy_port_is_an_error_only_where_it_was_chosen(tmp_path, store):
    first, _ = dashboard(tmp_path, store)
    port = int(first.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(ConfigError, match=r"cannot show the page on .* change `page`"):
        dashboard(tmp_path, store, f"127.0.0.1:{port}")
    given = bind("127.0.0.1", port, fixed=False, advice="")
    assert given.getsockname()[1] != port
    given.close()
    first.stop()
    assert PageAddress.of("off") is None


def test_a_devices_page_is_refused_elsewhere_and_on_a_port_that_is_taken(tmp_path):
    with pytest.raises(ConfigError, match=r"--page-listen 0\.0\.0\.0:0: .* loopback only"):
        owners_page(tmp_path, "data", "0.0.0.0:0", OwnMetrics())
    with bind("127.0.0.1", 0, fixed=True, advice="") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=r"cannot show the page on .* --page-listen"):
            owners_page(tmp_path, "data", f"127.0.0.1:{port}", OwnMetrics())


def test_only_this_machine_counts_as_loopback():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))
    assert split_address("[::1]:80", "page") == ("::1", 80)
    for wrong in ("8480", "host:", ":80", "host:99999", "host:x"):
        with pytest.raises(ConfigError):
            split_address(wrong, "page")
    assert Door().names_us("localhost:1")
    assert Door().names_us("[::1]:8480")
    assert Door().names_us("[::1]")
    assert not Door(token="t").knows(None)


def test_a_log_is_followed_through_its_rotations(tmp_path):
    path = tmp_path / "events.jsonl"
    tail, seen = Tail(path), []
    assert tail.read() == []
    with EventLog(path, rotate_bytes=300) as log:
        for number in range(1, 21):
            log.emit(Event.ROUND_START, round=number)
            seen += tail.read()
            seen += tail.read()
    seen += tail.read()
    tail.close()
    assert [line.round for line in seen] == list(range(1, 21))


@pytest.mark.parametrize("kept", [b"", b"\n", b"short", b"\xff" * 40])
def test_a_token_file_without_a_real_token_opens_to_nobody(tmp_path, kept):
    path = tmp_path / "page.token"
    path.touch(mode=0o600)
    path.write_bytes(kept)
    with pytest.raises(ConfigError, match="no token"):
        page_token(path)
