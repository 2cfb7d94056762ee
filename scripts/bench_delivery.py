"""From publishing to serving: how long until devices use a new model, and whether a request fails meanwhile.

    python scripts/bench_delivery.py [--devices 30] [--rounds 5] [--swaps 100]

A real gateway with TLS and real signed requests; the devices are fetchers of this one process, each with a
home and a service of its own. A model is live on a device when its service answers with it: fetched, hashed,
verified, self-tested, compared on twelve records of the device, written to the disk, opened and swapped in. What
thirty real devices do side by side is done here by one process and its one interpreter.
"""

import argparse
import http.client
import io
import json
import logging
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / each) for each in ("tests/benches", "tests")]  # fmt: skip

from delivery_bench import CNN, Front, labelled, newer, own_data, policy  # noqa: E402 - found by the line above
from models_bench import pictures, resigned  # noqa: E402
from PIL import Image  # noqa: E402

from edgeveil.agent.delivery.fetching import Fetcher  # noqa: E402
from edgeveil.agent.delivery.kept import KeptModels  # noqa: E402
from edgeveil.agent.delivery.receiving import open_in_use  # noqa: E402
from edgeveil.agent.inference.runtime import Model, open_model  # noqa: E402
from edgeveil.agent.inference.serving import service  # noqa: E402
from edgeveil.agent.inference.serving import slot as slots  # noqa: E402
from edgeveil.shared.models.package import read_package  # noqa: E402

PATIENCE_S = 120.0
TOKEN = "a1" * 32


def live(devices: int, rounds: int, folder: Path) -> list[float]:
    """Seconds from publishing to each device's service answering with the new model, of all rounds."""
    front = Front(folder)
    homes = front.devices(*(f"cam-{at}" for at in range(devices)))
    data = labelled(folder)
    fetchers = []
    for home in homes:
        policy(home, model={"fetch": True})
        own_data(home, data)
        fetchers.append(Fetcher(home.path, lambda _: None))
        fetchers[-1].start()
    front.publish(CNN)
    until(lambda: all(KeptModels(home.path).index().in_use for home in homes))
    slots = [serving(home.path) for home in homes]
    found: list[float] = []
    for number in range(rounds):
        time.sleep(1.0)  # every device asks again
        package = newer(folder / "new.evm", number + 1)
        wanted, waiting = read_package(package).digest, dict(enumerate(slots))
        began, used = time.monotonic(), time.process_time()
        front.publish(package)
        while waiting:
            now = time.monotonic() - began
            for at in [at for at, slot in waiting.items() if slot.current().digest == wanted]:
                del waiting[at]
                found.append(now)
            if now > PATIENCE_S:
                found += [float("inf")] * len(waiting)
                break
            time.sleep(0.02)
        print(f"  {(time.process_time() - used) / devices:.3f} s of CPU a device")
    for each in (*fetchers, front):
        each.stop()
    for slot in slots:
        slot.close()
    return found


def serving(home: Path) -> slots.Slot:
    """As `agent serve` follows the model in use, silently."""

    def opened(_index: Path) -> Model:
        return open_in_use(home, trust=None, threads=1, say=lambda _: None)

    return slots.Slot(KeptModels(home).index_path, opened, lambda _: None)


def swapped(swaps: int, folder: Path) -> tuple[int, int, float, float]:
    """(requests, failed, median ms without swaps, with swaps) of three askers."""
    path = folder / "bag.evm"
    path.write_bytes(CNN.read_bytes())
    slots.LOOK_S = 0.05
    slot = slots.Slot(path, open_model, lambda _: None)
    server = service.Server(("127.0.0.1", 0), slot, TOKEN)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    made = io.BytesIO()
    Image.fromarray(pictures(1, 8, 8)[0]).save(made, "png")
    done, found = threading.Event(), []

    def ask() -> None:
        while not done.is_set():
            began, status = time.monotonic(), 0
            try:
                link = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
                link.request("POST", "/v1/predict", made.getvalue(), {"Authorization": f"Bearer {TOKEN}"})  # fmt: skip
                answer = link.getresponse()
                status = answer.status if "label" in json.loads(answer.read()) else -1
            except (OSError, ValueError, http.client.HTTPException):
                status = 0
            found.append((status, 1e3 * (time.monotonic() - began)))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for each in askers:
        each.start()
    time.sleep(3.0)
    before = [ms for _, ms in found]
    for number in range(swaps):
        target = folder / "new"
        target.write_bytes(resigned(read_package(CNN), licence=f"number {number}"))
        wanted = read_package(target).digest
        target.replace(path)
        until(lambda wanted=wanted: slot.current().digest == wanted)
    done.set()
    for each in askers:
        each.join()
    server.shutdown()
    server.server_close()
    failed = sum(status != 200 for status, _ in found)
    return len(found), failed, statistics.median(before), statistics.median(ms for _, ms in found[len(before) :])  # fmt: skip


def until(reached: object) -> None:
    end = time.monotonic() + PATIENCE_S
    while not reached():  # type: ignore[operator]
        if time.monotonic() > end:
            raise SystemExit("it takes too long")
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--swaps", type=int, default=100)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"load {os.getloadavg()[0]:.0f}")
    with tempfile.TemporaryDirectory() as folder:
        found = sorted(live(asked.devices, asked.rounds, Path(folder)))
    at95 = found[int(0.95 * (len(found) - 1))]
    print(f"live on {asked.devices} devices, {asked.rounds} models: median {statistics.median(found):.2f} s, "
          f"95 % within {at95:.2f} s, all within {found[-1]:.2f} s")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        count, failed, before, during = swapped(asked.swaps, Path(folder))
    print(f"{asked.swaps} swaps under load: {failed} of {count:,} requests failed, "
          f"median {before:.1f} ms before and {during:.1f} ms meanwhile")  # fmt: skip
    print(f"load {os.getloadavg()[0]:.0f}")


if __name__ == "__main__":
    main()
