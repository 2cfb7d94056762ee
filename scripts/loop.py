"""The loop behind loop.sh: train, package, publish, optimise and serve on every device, train on, swap under load.

Real processes over TLS on loopback, started by the two commands that a user has: a coordinator, three devices that
train, fetch what it publishes and try smaller variants of it, and on each of them a service that answers. While a new round is trained and its
model published, every service is asked without a pause; an answer that fails ends the script with 1.
"""

import argparse
import contextlib
import http.client
import io
import json
import os
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import demo_federation
import numpy as np
from demo_federation import BIN, ROOT, Demo, DemoError, Options, console, digits_plan, run
from PIL import Image
from rich.console import Console
from rich.table import Table

from edgeveil.shared.base.errors import EdgeveilError

DEVICES = 3
EPSILON = 3.0  # of each of the two runs; devices allow both
PICTURE = (28, 28)
PAUSE_S = 0.02  # between an answer and the next question: everything shares one machine
ANSWER_S = 10.0  # for one answer, longer is a failed one
LIVE_S = 120.0  # for a published model to answer everywhere


@dataclass
class Asked:
    """What one device's service said under load. `first`: when each model answered first, time.monotonic()."""

    answers: int = 0
    failed: list[str] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    first: dict[str, float] = field(default_factory=dict)


class Loop(Demo):
    def _deal_data(self) -> None:
        self.task.deal(self.home / "data", self.options.agents)
        (self.home / "policy.toml").write_text(policy_text(self.options))
        (self.home / "plan.toml").write_text(digits_plan(self.options))

    def play(self) -> dict[str, Any]:
        first = super().play()
        console.print("[bold]6[/] the best round becomes one signed file, and is published")
        package = self.home / "digits.evm"
        self._command("coordinator", "model", "export", first["run"], "-o", str(package))
        before = self._publish(str(package))
        console.print(
            f"[bold]7[/] {DEVICES} devices fetch and check it, and try smaller variants on their own data"
        )
        for name in self.names:
            self._optimize(name, before)
        console.print("[bold]8[/] each serves the one in use")
        services = {name: self._serve(name) for name in self.names}
        console.print("[bold]9[/] under load: a new round from that model, published as it commits")
        asked = {name: Asked() for name in self.names}
        with loaded(services, asked):
            self._wait_until(lambda: all(each.answers for each in asked.values()), 60, "answers")
            second = self._train_on(first["run"])
            newer = str(self.home / "newer.evm")
            self._command(
                "coordinator", "model", "export", second["run"], "--round", "last", "-o", newer
            )
            published = time.monotonic()
            after = self._publish(newer)
            self._wait_until(lambda: all(after in each.first for each in asked.values()), LIVE_S, "the new model everywhere")  # fmt: skip
            time.sleep(1)
        show(asked, after, published)
        if failed := [f"{name}: {why}" for name, each in asked.items() for why in each.failed]:
            raise DemoError(f"{len(failed)} answers failed, the first of {failed[0]}")
        return second

    def _publish(self, *what: str) -> str:
        found = json.loads(self._command("coordinator", "model", "publish", *what, "--json"))
        return str(found["model"])

    def _optimize(self, name: str, model: str) -> None:
        """Once the published model is in use there: the variant that is kept, if one is, takes its place."""

        def in_use() -> bool:
            found = json.loads(self._command(name, "model", "list", "--json"))
            return any(each["model"] == model and each["is"] == "in use" for each in found)

        self._wait_until(in_use, LIVE_S, f"the published model on {name}")
        found = json.loads(self._command(name, "optimize", "--use", "--json"))
        sizes = {each["variant"]: each["bytes"] for each in [found["before"], *found["tried"]]}
        kept, whole = found["kept"], sizes[found["before"]["variant"]]
        why = "; ".join(each["verdict"] for each in found["tried"])
        told = (
            f"keeps {kept}, {sizes[kept] / whole:.2f} of the size"
            if kept
            else f"keeps the model as it came: {why}"
        )
        console.print(f"  {name} {told}", markup=False)

    def _serve(self, name: str) -> tuple[int, str]:
        """The port and token of a device's service."""
        service = f"{name}-service"
        self._spawn(service, "agent", "serve", "--listen", "127.0.0.1:0", "--threads", "1", "--home", str(self.home / name))  # fmt: skip
        log = self.home / service / "run.log"
        self._wait_until(lambda: "http://" in log.read_text(), 60, f"the service of {name}")
        found = re.search(r"http://127\.0\.0\.1:([0-9]+)", log.read_text())
        if found is None:
            raise DemoError(f"{log}: no address in it")
        return int(found[1]), (self.home / name / "serve.token").read_text().strip()

    def _train_on(self, run_id: str) -> dict[str, Any]:
        plan = self.home / "again.toml"
        text = (self.home / "plan.toml").read_text()
        text = re.sub(r"(?m)^count = \d+", "count = 1", text)
        plan.write_text(text + f'\n[model]\ninitial = "{run_id}@last"\n')
        found: dict[str, Any] = json.loads(run([str(BIN / "coordinator"), "run", "--json", str(plan)], env=self._environment("coordinator")))  # fmt: skip
        return found


@contextlib.contextmanager
def loaded(services: dict[str, tuple[int, str]], asked: dict[str, Asked]) -> Any:
    """Every service is asked again as soon as it has answered, until the block ends."""
    stop = threading.Event()
    body = a_picture()
    threads = [threading.Thread(target=ask, args=(*services[name], body, asked[name], stop)) for name in services]  # fmt: skip
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def ask(port: int, token: str, body: bytes, into: Asked, stop: threading.Event) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
    while not stop.is_set():
        began = time.monotonic()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
            connection.request("POST", "/v1/predict", body, headers)
            answer = connection.getresponse()
            found = json.loads(answer.read())
            connection.close()
            if answer.status != http.HTTPStatus.OK or found.get("label") is None:
                raise ValueError(f"{answer.status} {found}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            into.failed.append(f"{type(error).__name__}: {error}")
        else:
            into.answers += 1
            into.took_s.append(time.monotonic() - began)
            into.first.setdefault(found["model"], time.monotonic())
        stop.wait(PAUSE_S)


def a_picture() -> bytes:
    """Made up: it is asked for answers, not for right ones."""
    values = np.random.default_rng(0).integers(0, 256, PICTURE).astype(np.uint8)
    made = io.BytesIO()
    Image.fromarray(values).save(made, format="PNG")
    return made.getvalue()


def show(asked: dict[str, Asked], after: str, published: float) -> None:
    made = Table("device", "answers", "failed", "p50 ms", "p99 ms", "model before", "model after", "swapped after s")  # fmt: skip
    for name, each in asked.items():
        p50, p99 = (1000 * float(np.quantile(each.took_s, share)) for share in (0.5, 0.99))
        before, swapped = next(iter(each.first)), each.first[after] - published
        made.add_row(name, str(each.answers), str(len(each.failed)), f"{p50:.1f}", f"{p99:.1f}", before[:12], after[:12], f"{swapped:.1f}")  # fmt: skip
    Console(highlight=False, width=120).print(made)


def policy_text(options: Options) -> str:
    """Of every device: twice the budget of a run, and models are fetched by themselves."""
    own = demo_federation.policy_text(options).replace(f"epsilon_max = {options.epsilon}", f"epsilon_max = {2 * options.epsilon + 2}")  # fmt: skip
    return own + "\n[model]\nfetch = true\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="loop.sh", description="Train, publish, serve, train on, swap."
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the first run (default 3)")
    parser.add_argument(
        "--home", type=Path, default=ROOT / "loop-home", help="where all state goes"
    )
    parser.add_argument("--no-input", action="store_true", help="never ask")
    given = parser.parse_args()
    if not 1 <= given.rounds <= 100:
        parser.error(f"--rounds {given.rounds}: choose 1 to 100")
    options = Options(DEVICES, given.rounds, EPSILON, "feature-head", given.home.absolute(), not given.no_input)  # fmt: skip
    os.umask(0o077)
    with contextlib.ExitStack() as stack:
        try:
            loop = Loop(options, stack)
            second = loop.play()
        except (DemoError, EdgeveilError, OSError) as error:
            console.print(f"error: {error}", markup=False)
            return 1
        except KeyboardInterrupt:
            console.print("interrupted; stopping every process")
            return 130
        accuracy = second["metrics"]["accuracy"]
        print(f"the new model is right on {accuracy:.1%} of the held-out digits; all state is in {options.home}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
