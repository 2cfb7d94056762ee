"""Machines with addresses of their own: network namespaces on one switch, cut off from everything else.

Each gets a sniffer on all its interfaces that writes down every IP packet. Needs root and `ip`
(Debian: iproute2); nothing of the host's own network is touched.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

NAMES = ("server", "cam-1", "cam-2", "cam-3")
HOST = "fl.example.org"
SNIFFER = r"""
import json, socket, sys
sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
print("ready", flush=True)
seen = set()
while True:
    data, (interface, protocol, *_rest) = sniffer.recvfrom(65535)
    if protocol == 0x0800 and len(data) >= 20:
        head = (data[0] & 15) * 4
        ports = tuple(int.from_bytes(data[head + at:head + at + 2], "big") for at in (0, 2))
        flow = (interface, data[9], socket.inet_ntoa(data[12:16]), ports[0], socket.inet_ntoa(data[16:20]), ports[1])
    elif protocol == 0x86DD:
        flow = (interface, "ipv6", data[8:24].hex(), 0, data[24:40].hex(), 0)
    else:
        continue
    if flow not in seen:
        seen.add(flow)
        print(json.dumps(flow), flush=True)
"""


def require_namespaces():
    """Skip with the reason; fail instead where the skip must not go unnoticed."""
    reason = ""
    if os.geteuid() != 0:
        reason = "network namespaces need root"
    elif shutil.which("ip") is None:
        reason = "network namespaces need `ip` (Debian: iproute2)"
    elif not can_make_networks():
        reason = "this system does not let root make network namespaces with cables between them"
    if reason and os.environ.get("EDGEVEIL_NO_SKIP"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def can_make_networks():
    probe = f"ev-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode == 0
    cable = ["ip", "-n", probe, "link", "add", "left", "type", "veth", "peer", "name", "right"]
    works = made and subprocess.run(cable, capture_output=True).returncode == 0
    if made:
        ip("netns", "del", probe)
    return works


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def no_ipv6(space):
    """The kernel's own multicast chatter is not what is looked for."""
    for setting in ("all", "default"):
        text = f"echo 1 > /proc/sys/net/ipv6/conf/{setting}/disable_ipv6"
        ip("netns", "exec", space, "sh", "-c", text)


class Network:
    """A switch and four machines: 10.77.0.1 (the server, named HOST) to 10.77.0.4."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tag = f"ev{os.getpid() % 100_000}"
        self.switch = f"{self.tag}-switch"
        self.sniffers: dict[str, subprocess.Popen[str]] = {}
        self.gateway = "10.77.0.254"
        self.addresses = {name: f"10.77.0.{number}" for number, name in enumerate(NAMES, 1)}

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for sniffer in self.sniffers.values():
            sniffer.kill()
            sniffer.wait()
        for name in (*map(self.namespace, NAMES), self.switch):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
            shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)

    def namespace(self, name: str) -> str:
        return f"{self.tag}-{name}"

    def inside(self, name: str) -> list[str]:
        """The words before a command that is to run on that machine."""
        return ["ip", "netns", "exec", self.namespace(name)]

    def flows(self, name: str) -> list[tuple[object, ...]]:
        """Every different packet flow seen on that machine so far: interface, protocol, from, to."""
        text = (self.folder / f"{name}.flows").read_text()
        whole = text[: text.rfind("\n") + 1]  # the sniffer may be in the middle of a line
        return [tuple(json.loads(line)) for line in whole.splitlines()[1:]]

    def _build(self) -> None:
        ip("netns", "add", self.switch)
        no_ipv6(self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        ip("-n", self.switch, "link", "set", "br0", "up")
        # Somebody at the other end of the default route, so that strays are sent and seen.
        ip("-n", self.switch, "addr", "add", "10.77.0.254/24", "dev", "br0")
        for number, name in enumerate(NAMES, 1):
            self._machine(number, name)

    def _machine(self, number: int, name: str) -> None:
        space = self.namespace(name)
        ip("netns", "add", space)
        port = f"port{number}"
        ip("-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)  # fmt: skip
        ip("-n", self.switch, "link", "set", port, "master", "br0", "up")
        no_ipv6(space)
        ip("-n", space, "addr", "add", f"{self.addresses[name]}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", space, "link", "set", device, "up")
        ip("-n", space, "route", "add", "default", "via", "10.77.0.254")
        files = Path("/etc/netns") / space
        files.mkdir(parents=True, exist_ok=True)
        (files / "hosts").write_text(f"127.0.0.1 localhost\n{self.addresses['server']} {HOST}\n")
        (files / "resolv.conf").write_text("nameserver 192.0.2.53\n")
        self._sniff(name)

    def _sniff(self, name: str) -> None:
        path = self.folder / f"{name}.flows"
        with path.open("wb") as out:
            self.sniffers[name] = subprocess.Popen(
                [*self.inside(name), sys.executable, "-c", SNIFFER], stdout=out, text=True
            )
        while not path.read_text().startswith("ready"):
            assert self.sniffers[name].poll() is None, "the sniffer did not start"
            time.sleep(0.02)
