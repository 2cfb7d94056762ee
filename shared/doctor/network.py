"""The way to the coordinator, step by step: name, port, certificate, clock, readiness."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

from edgeveil.shared.doctor.checks import Finding, expiry, green, red, yellow
from edgeveil.shared.wire.certificates import find_refusal, pinned_context, refused

TIMEOUT_S = 5.0
FAST_S, SLOW_S = 5.0, 300.0  # what the gateway accepts: 5 s ahead, 300 s behind
_MOST = 4096


def route(url: str, ca_pem: bytes) -> Iterator[Finding]:
    """One finding per step that could be taken; ends at the first that failed."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    try:
        found = sorted({str(info[4][0]) for info in socket.getaddrinfo(host, port)})
    except OSError as error:
        yield red(
            "dns", f"{host} has no address ({error})", "check the name and this machine's DNS"
        )
        return
    yield green("dns", f"{host} is {', '.join(found)}")
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as plain:
            yield green("port", f"{host}:{port} accepts connections")
            yield _certificate(plain, host, ca_pem)
    except ssl.SSLError as error:
        yield _refusal(url, error)
        return
    except OSError as error:
        fix = "start `coordinator serve`; open the port in every firewall on the way"
        yield red("port", f"{host}:{port} cannot be reached ({error})", fix)
        return
    yield from _health(url, ca_pem)


def _certificate(plain: socket.socket, host: str, ca_pem: bytes) -> Finding:
    with pinned_context(ca_pem).wrap_socket(plain, server_hostname=host) as channel:
        ends = ssl.cert_time_to_seconds(str((channel.getpeercert() or {})["notAfter"]))
        what = f"the certificate ({channel.version()})"
    return expiry("tls", what, ends, "the operator renews it: coordinator doctor", warn_days=7)


def _health(url: str, ca_pem: bytes) -> Iterator[Finding]:
    context = pinned_context(ca_pem)
    try:
        with httpx.Client(verify=context, trust_env=False, timeout=TIMEOUT_S) as client:
            before = time.time()
            answer = client.get(url + "/readyz")
            took = time.time() - before
    except httpx.HTTPError as error:
        refusal = find_refusal(error)
        if refusal is not None:
            yield _refusal(url, refusal)
        else:
            fix = "look at its log, and at proxies in between"
            yield red("ready", f"{url}: no answer over HTTP ({error})", fix)
        return
    try:
        theirs = float(json.loads(answer.content[:_MOST])["time"])
    except (ValueError, KeyError, TypeError):
        yield red("clock", f"{url} is not an Edgeveil coordinator", "check the address")
        return
    yield clock(before + took / 2 - theirs, took)
    if answer.status_code == httpx.codes.OK:
        yield green("ready", f"{url} is ready for agents")
    else:
        yield yellow("ready", f"{url} answers, but is not ready", "wait, or look at its log")


def _refusal(url: str, error: ssl.SSLError) -> Finding:
    what, fix = refused(error)
    return red("tls", f"{url}: the certificate is refused: {what}", fix)


def clock(ahead_s: float, uncertain_s: float) -> Finding:
    """This machine's clock against the coordinator's; agents may be 5 s ahead and 300 s behind."""
    fix = "set the clock, best by NTP (timedatectl set-ntp true)"
    text = f"this clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} the coordinator's"
    if ahead_s - uncertain_s / 2 > FAST_S or ahead_s < -SLOW_S:
        return red("clock", f"{text}; requests are refused", fix)
    if abs(ahead_s) > FAST_S / 2:
        return yellow("clock", text, fix)
    return green("clock", text)
