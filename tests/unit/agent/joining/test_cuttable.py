"""Ending a held request from another thread: at once, and without taking anybody's file."""

import socket
import threading
import time

import httpx
import pytest

from edgeveil.agent.joining.cuttable import Cuttable


@pytest.fixture
def held():
    """The address of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def accept():
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for each in kept:
            each.close()


def waiting(client, address):
    """A thread that waits for an answer, and what it ends with."""
    ended = []

    def ask():
        try:
            client.get(address)
        except httpx.HTTPError as error:
            ended.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not client._sockets:
        time.sleep(0.01)
    return thread, ended


def test_a_held_request_ends_at_once_by_the_thread_that_reads(held):
    client = Cuttable(timeout=60.0)
    thread, ended = waiting(client, held)
    (connection,) = client._sockets
    began = time.monotonic()
    client.cut()
    thread.join(10)
    assert not thread.is_alive()
    assert time.monotonic() - began < 5
    assert len(ended) == 1
    assert connection.fileno() == -1, "its reader closed it"


def test_cut_itself_closes_no_descriptor(held, monkeypatch):
    """The number would be that of the next file opened, while another thread still reads from it."""
    client = Cuttable(timeout=60.0)
    thread, _ = waiting(client, held)
    (connection,) = client._sockets
    monkeypatch.setattr("edgeveil.agent.joining.cuttable._shut", lambda _: None)
    client.cut()
    assert connection.fileno() != -1
    monkeypatch.undo()
    client.cut()
    thread.join(10)
    assert not thread.is_alive()


def test_after_a_cut_nothing_is_sent(held):
    client = Cuttable()
    client.cut()
    with pytest.raises(httpx.ConnectError, match="was ended"):
        client.get(held)
    assert not client._sockets
