"""A network whose every packet passes through one process of ours: cables that are cut, slow or lossy.

Machines are network namespaces whose only interface is a TAP device with its other end here. Needs
root, `ip` and /dev/net/tun, and nothing of the kernel's traffic shaping, of which many kernels lack
parts. A schedule of faults follows from its seed; conditions hold per machine and direction.
"""

import contextlib
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import signal
import struct
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from forks_bench import end_with
from namespaces_bench import ip, no_ipv6

KINDS = ("partition", "one-way", "flapping", "reset", "loss", "latency", "slow")
LOSS, DELAY_S, RATE = 0.2, 0.2, 1e6  # share of packets, seconds each way, bits per second
RESETS = 0.05  # of the segments with data that pass while connections are being reset
BACKLOG_S = 1.0  # what a slow cable queues before it loses packets
TUNSETIFF, IFF_TAP, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 2, 0x1000, 0x40000000
PSH_DATA, ACK, RST = 20 + 20, 0x10, 0x04


@dataclass(frozen=True)
class Fault:
    """From second `at` for `lasts` seconds, on the cables of `machines`, in `ways` ("up", "down")."""

    at: float
    lasts: float
    kind: str
    machines: tuple[str, ...]
    ways: tuple[str, ...] = ("up", "down")
    period: float = 1.0

    def holds(self, second):
        since = second - self.at
        if not 0 <= since < self.lasts:
            return False
        return self.kind != "flapping" or int(since / self.period) % 2 == 0


def schedule(seed, seconds, machines):
    """Overlapping faults, each kind equally likely; the last one ends with the schedule."""
    chance = random.Random(f"network/{seed}")
    at, found = chance.uniform(0.2, 2), []
    while at < seconds - 1:
        kind = chance.choice(KINDS)
        who = tuple(sorted(chance.sample(machines, chance.randint(1, len(machines)))))
        ways = (chance.choice(("up", "down")),) if kind == "one-way" else ("up", "down")
        lasts = chance.uniform(1, min(15.0, seconds - at))
        found.append(Fault(at, lasts, kind, who, ways, chance.uniform(0.3, 3)))
        at += chance.uniform(0.5, 6)
    return found


def enter(namespace):
    """Move this thread, and processes it forks from now on, into a network namespace."""
    handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    finally:
        os.close(handle)


class Nemesis:
    """`server` at 10.77.0.1 and the others after it; play(faults) disturbs what they send."""

    def __init__(self, names):
        self.names = names
        self.tag = f"ev{os.getpid() % 100_000}"
        self.addresses = {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}
        self._pid = 0

    def __enter__(self):
        try:
            taps = {name: self._machine(name) for name in self.names}
            commands, self._commands = os.pipe()
            self._counts, counts = os.pipe()
            parent, self._pid = os.getpid(), os.fork()
            if self._pid == 0:
                end_with(parent)
                os.close(self._commands)
                _Switch(taps, commands, counts).run()
                os._exit(0)
            for handle in (*taps.values(), commands, counts):
                os.close(handle)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._commands)
            os.close(self._counts)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", self.namespace(name)], capture_output=True)

    def namespace(self, name):
        return f"{self.tag}-{name}"

    def enter(self, name):
        """For a process that is to live on that machine; it can no longer command the network."""
        enter(self.namespace(name))
        with contextlib.suppress(OSError):
            os.close(self._commands)

    def play(self, faults):
        """Let the faults happen from now on, instead of any before."""
        text = json.dumps([asdict(fault) for fault in faults]).encode() + b"\n"
        os.write(self._commands, struct.pack(">I", len(text)) + text)

    def counts(self):
        """Packets that passed, were lost, and connections reset, since the last play()."""
        self.play([])
        return json.loads(os.read(self._counts, 4096))

    def _machine(self, name):
        space = self.namespace(name)
        ip("netns", "add", space)
        no_ipv6(space)
        found = []
        maker = threading.Thread(target=lambda: (enter(space), found.append(_open_tap())))
        maker.start()  # a thread of its own, since there is no way back out of a namespace
        maker.join()
        ip("-n", space, "addr", "add", f"{self.addresses[name]}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", space, "link", "set", device, "up")
        return found[0]


def _open_tap():
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH14x", b"eth0", IFF_TAP | IFF_NO_PI))
    return handle


class _Switch:
    """The process that carries every frame; one loop, no threads."""

    def __init__(self, taps, commands, counts):
        self.taps, self.commands, self.out = taps, commands, counts
        self.where = {}  # MAC address → machine
        self.queue = []  # (due, order, machine, frame)
        self.free = {}  # (machine, way) → when a slow cable can take the next packet
        self.order = 0
        self.faults, self.started = [], time.monotonic()
        self.passed = {"carried": 0, "lost": 0, "resets": 0}
        self.chance = random.Random(0)

    def run(self):
        names = {handle: name for name, handle in self.taps.items()}
        while True:
            wait = max(0.0, self.queue[0][0] - time.monotonic()) if self.queue else None
            ready, _, _ = select.select([*names, self.commands], [], [], wait)
            if self.commands in ready and not self._obey():
                return
            for handle in (each for each in ready if each != self.commands):
                for _ in range(64):
                    try:
                        frame = os.read(handle, 65536)
                    except BlockingIOError:
                        break
                    self._take(names[handle], frame)
            self._deliver()

    def _obey(self):
        head = os.read(self.commands, 4)
        if len(head) < 4:
            return False
        faults = json.loads(os.read(self.commands, struct.unpack(">I", head)[0]))
        if not faults:
            os.write(self.out, json.dumps(self.passed).encode())
            self.passed = dict.fromkeys(self.passed, 0)
        self.faults = [Fault(**each) for each in faults]
        self.started = time.monotonic()
        return True

    def _take(self, source, frame):
        target, origin = frame[:6], frame[6:12]
        self.where[origin] = source
        to = [self.where[target]] if target in self.where else [n for n in self.taps if n != source]
        for machine in to:
            self._carry(source, machine, frame)

    def _carry(self, source, target, frame):
        """Through the cable of the sender and that of the receiver, whatever ails them."""
        due = now = time.monotonic()
        second = now - self.started
        ill = {}
        for fault in self.faults:
            for machine, way in ((source, "up"), (target, "down")):
                if machine in fault.machines and way in fault.ways and fault.holds(second):
                    ill[fault.kind] = machine, way
        lost = {"partition", "one-way", "flapping"} & ill.keys()
        if lost or ("loss" in ill and self.chance.random() < LOSS):
            self.passed["lost"] += 1
            return
        if "reset" in ill and self._reset(source, target, frame):
            return
        if "slow" in ill:
            cable = ill["slow"]
            start = max(now, self.free.get(cable, 0.0))
            if start - now > BACKLOG_S:
                self.passed["lost"] += 1
                return
            due = self.free[cable] = start + len(frame) * 8 / RATE
        if "latency" in ill:
            due += DELAY_S
        self._push(due, target, frame)

    def _push(self, due, target, frame):
        self.order += 1
        heapq.heappush(self.queue, (due, self.order, target, frame))

    def _deliver(self):
        now = time.monotonic()
        while self.queue and self.queue[0][0] <= now:
            _, _, target, frame = heapq.heappop(self.queue)
            with contextlib.suppress(
                OSError
            ):  # a full queue of the kernel loses it, as a cable would
                os.write(self.taps[target], frame)
            self.passed["carried"] += 1

    def _reset(self, source, target, frame):
        """Tell both ends of a connection that the other has ended it; True when it was done."""
        segment = _tcp(frame)
        if segment is None or self.chance.random() >= RESETS:
            return False
        seq, ack = segment
        now = time.monotonic()
        self._push(now, target, _forged(frame, seq, ack, turn=False))
        self._push(now, source, _forged(frame, ack, seq, turn=True))
        self.passed["resets"] += 1
        return True


def _tcp(frame):
    """(sequence, acknowledgement) of a segment with data; None for everything else."""
    if len(frame) < 14 + PSH_DATA or frame[12:14] != b"\x08\x00" or frame[23] != 6:
        return None
    start = 14 + (frame[14] & 15) * 4
    head = (frame[start + 12] >> 4) * 4
    total = int.from_bytes(frame[16:18], "big")
    if not frame[start + 13] & ACK or total <= start - 14 + head:
        return None
    return struct.unpack(">II", frame[start + 4 : start + 12])


def _forged(frame, seq, ack, *, turn):
    """The RST of one end, in an Ethernet frame with right checksums."""
    start = 14 + (frame[14] & 15) * 4
    source, target = frame[26:30], frame[30:34]
    ports = frame[start : start + 4]
    target_mac, source_mac = frame[:6], frame[6:12]
    if turn:
        source, target = target, source
        ports = ports[2:] + ports[:2]
        target_mac, source_mac = source_mac, target_mac
    tcp = ports + struct.pack(">IIBBHHH", seq, ack, 5 << 4, RST | ACK, 0, 0, 0)
    pseudo = source + target + struct.pack(">BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + _checksum(pseudo + tcp) + tcp[18:]
    packet = struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 64, 6, 0) + source + target
    packet = packet[:10] + _checksum(packet) + packet[12:]
    return target_mac + source_mac + b"\x08\x00" + packet + tcp


def _checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)


def why_not():
    """What is missing for a network of our own, or ""."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    probe = f"ev-probe-{os.getpid()}"  # several campaigns may start at once
    try:
        made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False)
    except FileNotFoundError:
        return "needs `ip` (Debian: iproute2)"
    if made.returncode:
        return "this system does not let root make network namespaces"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return ""
