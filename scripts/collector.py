"""A small centre for forwarded results (docs/rules.md, "Forwarding results"): takes them, counts them, shows them.

    python scripts/collector.py add gate-1 --data DIR      # a token for one device, in DIR/gate-1.token
    python scripts/collector.py serve --data DIR --listen 0.0.0.0:8490 --certificate CERT.pem --key KEY.pem
    python scripts/collector.py show --data DIR --json     # counts per device

Without a certificate it listens on loopback alone. Whoever looks at the page needs the token in DIR/page.token.
What devices forward are answers about their owners' records; no epsilon covers them.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from edgeveil.shared.base.errors import ConfigError, EdgeveilError
from edgeveil.shared.base.files import private_directory, write_secret
from edgeveil.shared.base.json_text import readable
from edgeveil.shared.base.names import check_name
from edgeveil.shared.pages.document import document
from edgeveil.shared.pages.door import Door, headers, is_loopback, page_token, split_address
from edgeveil.shared.pages.markup import facts, section, table
from edgeveil.shared.pages.text import harmless, utc

MOST_BODY = 1 << 20  # bytes
MOST_RESULTS = 1000  # of one request
MOST_KEPT = 1_000_000  # of all devices; the oldest go first
MOST_DEVICES = 1000
MOST_LABELS = 1000  # of one device that are counted by name
MOST_SHOWN = 200  # rows of a table
BODY_S = 20.0
DAY_S = 86_400

_TABLES = """
CREATE TABLE IF NOT EXISTS device(name TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE, refused INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS result(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, id TEXT NOT NULL, time REAL NOT NULL,
  model TEXT NOT NULL, label TEXT, score REAL, value REAL, came REAL NOT NULL, UNIQUE(device, id));
CREATE INDEX IF NOT EXISTS by_came ON result(came, device);
CREATE TABLE IF NOT EXISTS counted(
  device TEXT NOT NULL, label TEXT NOT NULL, n INTEGER NOT NULL, last REAL NOT NULL, PRIMARY KEY(device, label));
"""


class Result(BaseModel):
    """All that a device may say; another key is refused, so that nothing else is ever kept by mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    time: Annotated[float, Field(ge=0, le=1e11)]
    model: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    label: Annotated[str, Field(max_length=200)] | None = None
    score: float | None = None
    value: float | None = None


class Results(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    results: Annotated[tuple[Result, ...], Field(min_length=1, max_length=MOST_RESULTS)]


class Kept:
    """The database of a folder; for several threads. What take() has returned is on the disk."""

    def __init__(self, folder: Path) -> None:
        self._guard = threading.Lock()
        path = private_directory(folder) / "results.db"
        self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = FULL")
        self._base.executescript(_TABLES)

    def add(self, name: str) -> str:
        """A new token of a device; an older one of that name opens nothing any more."""
        token = os.urandom(32).hex()
        with self._guard:
            (count,) = self._base.execute("SELECT count(*) FROM device WHERE name != ?", (name,)).fetchone()  # fmt: skip
            if count >= MOST_DEVICES:
                raise ConfigError(f"at most {MOST_DEVICES} devices")
            self._base.execute(
                "INSERT INTO device(name, token) VALUES(?, ?) "
                "ON CONFLICT(name) DO UPDATE SET token = excluded.token",
                (name, _hash(token)),
            )
        return token

    def device(self, token: str) -> str | None:
        """Looked up by its hash, so that no time tells how much of a guess was right."""
        with self._guard:
            row = self._base.execute("SELECT name FROM device WHERE token = ?", (_hash(token),)).fetchone()  # fmt: skip
        return None if row is None else str(row[0])

    def take(self, device: str, results: Sequence[Result]) -> int:
        """How many were new; one that came before is not counted again."""
        new, came = 0, time.time()
        with self._guard, self._changing():
            for each in results:
                values = (device, each.id, each.time, each.model, each.label, each.score, each.value, came)  # fmt: skip
                added = self._base.execute(
                    "INSERT OR IGNORE INTO result(device, id, time, model, label, score, value, came) "
                    "VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
                if added.rowcount:
                    new += 1
                    self._count(device, each)
            (newest,) = self._base.execute("SELECT max(seq) FROM result").fetchone()
            self._base.execute("DELETE FROM result WHERE seq <= ?", (newest - MOST_KEPT,))
        return new

    def _count(self, device: str, result: Result) -> None:
        label = "" if result.label is None else result.label
        known = self._base.execute("SELECT 1 FROM counted WHERE device = ? AND label = ?", (device, label)).fetchone()  # fmt: skip
        if known is None:
            (many,) = self._base.execute("SELECT count(*) FROM counted WHERE device = ?", (device,)).fetchone()  # fmt: skip
            label = label if many < MOST_LABELS else "(other labels)"
        self._base.execute(
            "INSERT INTO counted(device, label, n, last) VALUES(?, ?, 1, ?) ON CONFLICT(device, label) "
            "DO UPDATE SET n = n + 1, last = max(last, excluded.last)",
            (device, label, result.time),
        )

    def counts(self) -> dict[str, Any]:
        """By device: how many ever, in the last day by our clock, and by label."""
        with self._guard:
            devices = [
                name for (name,) in self._base.execute("SELECT name FROM device ORDER BY name")
            ]
            rows = self._base.execute("SELECT device, label, n, last FROM counted ORDER BY n DESC").fetchall()  # fmt: skip
            days = dict(self._base.execute(
                "SELECT device, count(*) FROM result WHERE came > ? GROUP BY device",
                (time.time() - DAY_S,),
            ).fetchall())  # fmt: skip
        found: dict[str, Any] = {
            name: {"results": 0, "last_day": days.get(name, 0), "last": None, "labels": {}} for name in devices
        }  # fmt: skip
        for name, label, n, last in rows:
            each = found.setdefault(name, {"results": 0, "last_day": days.get(name, 0), "last": None, "labels": {}})  # fmt: skip
            each["results"] += n
            each["last"] = max(last, each["last"] or 0.0)
            each["labels"][label] = n
        return {"devices": found}

    def newest(self) -> list[tuple[Any, ...]]:
        with self._guard:
            return self._base.execute(
                "SELECT device, time, label, score, value FROM result ORDER BY seq DESC LIMIT ?",
                (MOST_SHOWN,),
            ).fetchall()

    @contextlib.contextmanager
    def _changing(self) -> Any:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        except BaseException:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            raise


def app_of(kept: Kept, door: Door) -> Starlette:
    """POST /v1/results for devices; GET / and /v1/counts for whoever has the page's token."""

    async def results(request: Request) -> Response:
        device = await run_in_threadpool(kept.device, _bearer(request))
        if device is None:
            return _said(401, "give the token of this device: Authorization: Bearer TOKEN")
        body = await _body(request)
        if isinstance(body, Response):
            return body
        try:
            found = Results.model_validate_json(body)
        except (ValidationError, RecursionError):
            return _said(422, "no results of this form")
        new = await run_in_threadpool(kept.take, device, found.results)
        return JSONResponse({"taken": new, "known": len(found.results) - new})

    async def look(request: Request) -> Response:
        given = request.query_params.get("token") or _bearer(request)
        if not door.names_us(request.headers.get("host", "")) or not door.knows(given):
            return _said(401, "give the token in page.token: /?token=TOKEN")
        if request.url.path == "/v1/counts":
            found = await run_in_threadpool(kept.counts)
            return Response(readable(found), media_type="application/json", headers=headers(live=False))  # fmt: skip
        return HTMLResponse(await run_in_threadpool(page, kept), headers=headers(live=False))

    return Starlette(routes=[
        Route("/v1/results", results, methods=["POST"]), Route("/", look), Route("/v1/counts", look),
    ])  # fmt: skip


def page(kept: Kept) -> str:
    found = kept.counts()["devices"]
    devices = [
        (name, each["results"], each["last_day"], utc(each["last"]) if each["last"] else "–")
        for name, each in found.items()
    ]
    labels = [(name, label or "–", n) for name, each in found.items() for label, n in each["labels"].items()]  # fmt: skip
    newest = [(name, utc(at), label or "–", _number(score), _number(value)) for name, at, label, score, value in kept.newest()]  # fmt: skip
    parts = [
        facts({"devices": len(found), "results": sum(each["results"] for each in found.values())}),
        section("devices", "Devices", table(["device", ">results", ">last day", "newest"], devices[:MOST_SHOWN], label="Devices")),
        section("labels", "By label", table(["device", "label", ">results"], labels[:MOST_SHOWN], label="By label")),
        section("newest", "Newest", table(["device", "time (UTC)", "label", ">score", ">value"], newest, label="Newest")),
        "<p>Answers about the devices' own records, forwarded by their owners' word; no ε covers them.</p>",
    ]  # fmt: skip
    return document("en", "Collected results", f'<main id="main"><h1>Collected results</h1>{"".join(parts)}</main>')  # fmt: skip


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


async def _body(request: Request) -> bytes | Response:
    told = request.headers.get("content-length", "")
    if not told.isascii() or not told.isdecimal() or "transfer-encoding" in request.headers:
        return _said(411, "give Content-Length")
    if len(told) > 9 or int(told) > MOST_BODY:
        return _said(413, f"at most {MOST_BODY} bytes")
    try:
        return await asyncio.wait_for(request.body(), BODY_S)
    except ClientDisconnect:
        return _said(400, "the body ends early")
    except TimeoutError:
        return _said(408, "the body did not come in time")


def _bearer(request: Request) -> str:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _said(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status_code=status, headers=headers(live=False))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def serve(kept: Kept, folder: Path, listen: str, certificate: Path | None, key: Path | None) -> None:  # fmt: skip
    host, port = split_address(listen, "--listen")
    if (certificate is None) != (key is None):
        raise ConfigError("--certificate and --key: give both")
    if certificate is None and not is_loopback(host):
        raise ConfigError(f"--listen {listen}: elsewhere than on loopback give --certificate and --key")  # fmt: skip
    token = page_token(folder / "page.token")
    config = uvicorn.Config(
        app_of(kept, Door(token)), host=host, port=port, log_config=None, access_log=False, server_header=False,
        limit_concurrency=128, timeout_keep_alive=5, timeout_graceful_shutdown=2,
        ssl_certfile=certificate, ssl_keyfile=key,
    )  # fmt: skip
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    scheme = "http" if certificate is None else "https"
    print(f"collecting at {scheme}://{host}:{port}/v1/results; the page needs the token in {folder / 'page.token'}", file=sys.stderr, flush=True)  # fmt: skip
    server.run()
    if not server.started:
        raise ConfigError(f"--listen {listen}: this address is taken, or not ours")


def show(kept: Kept, *, as_json: bool) -> None:
    found = kept.counts()
    if as_json:
        print(readable(found))
        return
    for name, each in found["devices"].items():
        counts = ", ".join(f"{label or '–'} {n:,}" for label, n in list(each["labels"].items())[:20])  # fmt: skip
        print(harmless(f"{name}: {each['results']:,} results, {each['last_day']:,} in the last day: {counts}"))  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="a token for one device")
    add.add_argument("name")
    run = commands.add_parser("serve", help="take results until interrupted")
    run.add_argument("--listen", default="127.0.0.1:8490", metavar="HOST:PORT")
    run.add_argument("--certificate", type=Path, metavar="FILE")
    run.add_argument("--key", type=Path, metavar="FILE")
    look = commands.add_parser("show", help="counts per device")
    look.add_argument("--json", action="store_true")
    for each in (add, run, look):
        each.add_argument("--data", type=Path, required=True, metavar="DIR")
    chosen = parser.parse_args(arguments)
    os.umask(0o077)
    try:
        kept = Kept(chosen.data)
        if chosen.command == "add":
            path = chosen.data / f"{check_name(chosen.name, 'device')}.token"
            write_secret(path, kept.add(chosen.name).encode() + b"\n")
            print(f"{path}: put it beside the device's rules.toml, readable by its owner alone")
        elif chosen.command == "serve":
            serve(kept, chosen.data, chosen.listen, chosen.certificate, chosen.key)
        else:
            show(kept, as_json=chosen.json)
    except EdgeveilError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return int(error.exit_code)
    except (OSError, sqlite3.Error) as error:
        print(f"error: {chosen.data}: {error}", file=sys.stderr)
        return 75
    return 0


if __name__ == "__main__":
    sys.exit(main())
