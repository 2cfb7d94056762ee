"""What a private step costs: CPU time beside plain SGD and beside stock Opacus, all in one run.

Steps of the three kinds alternate, so that whatever else the machine does hits them alike; the ratio
of the medians is what counts. Stock Opacus draws its noise from torch, which is fast and predictable.
Models by a task's name are those of the catalogue, as devices train them. Beside the most memory that the process
ever took stands what `agent doctor` asks for; name one --model for that, or it is that of all before it too.
python scripts/bench_training.py [--model NAME] [--repeats 15] [--threads 1] [--json]
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass

try:
    import torch
    from opacus import PrivacyEngine
    from opacus.layers import DPLSTM
    from torch import Tensor, nn

    from edgeveil.agent.cli.doctor_standing import needed_memory
    from edgeveil.agent.training.engine_choice import choose
    from edgeveil.agent.training.engines.gradients import ENGINES, GradientMode
    from edgeveil.agent.training.engines.mechanism import Mechanism
    from edgeveil.agent.training.noise import gaussian
    from edgeveil.agent.training.recurrent import trained_form
    from edgeveil.agent.training.validate import Probe
    from edgeveil.shared.tasks import registry
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

BATCH = 64
STOCK = ("ghost", "hooks")
ALL: tuple[GradientMode, ...] = ("hooks", "ghost", "single")
FORCED: tuple[GradientMode, ...] = ("hooks", "single")  # what a detector's engine is held against
SIGMA, CLIP, RATE = 1.0, 1.0, 0.01
warnings.filterwarnings("ignore")


class Recurrent(nn.Module):
    """9 channels, 64 time steps, 64 hidden units, 6 classes; `layer` makes the recurrent part."""

    def __init__(self, layer: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.recurrent = layer(9, 64, batch_first=True)
        self.head = nn.Linear(64, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden, _ = self.recurrent(inputs)
        found: Tensor = self.head(hidden[:, -1])
        return found


def convolutional(channels: int, side: int, widths: tuple[int, int], hidden: int) -> nn.Module:
    first, second = widths
    return nn.Sequential(
        *(nn.Conv2d(channels, first, 3, padding=1), nn.GroupNorm(4, first), nn.ReLU()),
        nn.MaxPool2d(2),
        *(nn.Conv2d(first, second, 3, padding=1), nn.GroupNorm(4, second), nn.ReLU()),
        nn.MaxPool2d(2),
        nn.Flatten(),
        *(nn.Linear(second * (side // 4) ** 2, hidden), nn.ReLU(), nn.Linear(hidden, 10)),
    )


Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    name: str
    plain: Callable[[], nn.Module]
    private: Callable[[], nn.Module]
    draw: Draw
    least: float  # ratio to beat
    base: str = (
        "plain"  # what it is a ratio to: "plain", the better of "opacus", or of "forced" engines
    )
    criterion: Callable[[str], nn.Module] = lambda reduction: nn.CrossEntropyLoss(
        reduction=reduction
    )
    batch: int = BATCH
    stock: bool = True  # whether Opacus is tried beside it
    ahead: bool = False  # whether noise on a second thread is timed too
    stock_form: Callable[[], nn.Module] | None = None  # what Opacus trains, where that is another


def drawing(shape: tuple[int, ...], classes: int) -> Draw:
    def draw(count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        inputs = torch.randn((count, *shape), generator=random)
        return inputs, torch.randint(classes, (count,), generator=random)

    return draw


def of_task(
    name: str, task_id: str, least: float, *, stock: bool = True, base: str = "plain",
    batch: int = BATCH, **chosen: object,
) -> Case:  # fmt: skip
    """A model of the catalogue, with its own records and loss."""
    spec = registry.newest(task_id)
    if spec is None:
        raise SystemExit(f"no task {task_id} is installed")
    task = registry.load(spec)
    options = task.parse_options(chosen)  # type: ignore[arg-type]  # what a plan may hold
    return Case(
        name,
        lambda: task.build(options),
        lambda: trained_form(task.build(options)),
        lambda count, random: task.probe(count, random, options),
        least,
        base,
        batch=batch,
        criterion=task.criterion,  # type: ignore[arg-type]  # one of its reductions
        stock=stock,
    )


def small() -> nn.Module:
    return convolutional(1, 28, (16, 32), 64)


def large() -> nn.Module:
    return convolutional(3, 32, (32, 64), 246)


MOTION = ",".join(f"a{axis} [g] -8..8" for axis in "xyz") + "," + ",".join(f"w{axis} [rad/s] -35..35" for axis in "xyz")  # fmt: skip
SENSORS = ",".join(f"s{number} 0..1" for number in range(256))


def cases() -> tuple[Case, ...]:
    return (
        of_task("cnn", "image-classification", 2.3, variant="cnn"),
        of_task("cnn1d", "sensor-sequence", 2.3, variant="cnn1d", columns=MOTION, labels="a,b,c,d,e,f,g"),
        of_task("vae", "anomaly", 3.0, columns=SENSORS, hidden=256, latent=16, stock=False),
        of_task("detection", "detection", 1.2, stock=False, base="forced", batch=16, labels="a,b,c", size=128, boxes_max=8),
        Case("CNN 106k", small, small, drawing((1, 28, 28), 10), 2.3),
        Case("CNN 1.03M", large, large, drawing((3, 32, 32), 10), 2.3, ahead=True),
        Case(
            "LSTM", lambda: Recurrent(nn.LSTM), lambda: trained_form(Recurrent(nn.LSTM)), drawing((64, 9), 6),
            1.0, base="opacus", stock_form=lambda: Recurrent(DPLSTM),
        ),
    )  # fmt: skip


Step = Callable[[], None]


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """The same weights each time, as every task of the catalogue has; engines are compared on them."""
    torch.manual_seed(1)
    return build()


def plain_step(case: Case, inputs: Tensor, targets: Tensor) -> Step:
    module = case.plain().train()
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    criterion = case.criterion("mean")

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(criterion(module(inputs), targets))
        optimizer.step()

    return step


def private_step(
    case: Case,
    inputs: Tensor,
    targets: Tensor,
    *,
    steps: int = 0,
    modes: Collection[GradientMode] = ALL,
) -> tuple[str, Step, Step]:
    """(engine, step, close): our step with the engine that the agent itself would choose, secure noise included.

    `modes` leaves it less to choose from. With `steps`, the noise of so many steps is drawn on a second thread.
    """
    criterion = case.criterion("none")
    probe = Probe(lambda: seeded(case.private), criterion, case.draw)
    choice = choose(probe, modes)
    module = case.private().train()
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    engine = ENGINES[choice.mode](module, criterion)
    engine.attach(optimizer, Mechanism(CLIP, SIGMA, n_ref=case.batch, steps=steps))

    def step() -> None:
        for at in range(0, case.batch, choice.chunk):
            engine.accumulate(inputs[at : at + choice.chunk], targets[at : at + choice.chunk])
        engine.finish()

    return choice.mode, step, engine.close


def stock_step(case: Case, inputs: Tensor, targets: Tensor, mode: str) -> Step:
    """Opacus as its documentation shows it, with the same kind of gradients and torch's noise."""
    module = (case.stock_form or case.private)().train()
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    data = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(inputs, targets), batch_size=case.batch
    )
    options = {"module": module, "optimizer": optimizer, "data_loader": data}
    options |= {"noise_multiplier": SIGMA, "max_grad_norm": CLIP, "poisson_sampling": False}
    made = PrivacyEngine().make_private(
        **options, grad_sample_mode=mode, criterion=nn.CrossEntropyLoss()
    )
    module, optimizer = made[0], made[1]
    criterion = made[2] if mode == "ghost" else nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(module(inputs), targets).backward()
        optimizer.step()

    return step


def measure(steps: dict[str, Step], repeats: int) -> dict[str, dict[str, float]]:
    """Medians in milliseconds of CPU and wall time per step; the kinds take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for round_number in range(repeats + 2):
        for name, step in steps.items():
            cpu, wall = time.process_time(), time.perf_counter()
            step()
            if round_number >= 2:  # the first ones load and allocate
                taken[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: {
            "cpu_ms": round(1000 * statistics.median(cpu for cpu, _ in found), 2),
            "wall_ms": round(1000 * statistics.median(wall for _, wall in found), 2),
        }
        for name, found in taken.items()
    }


BLOCK = 12  # steps in a row, since noise drawn ahead shows only from one step to the next


def noise_ahead(case: Case, inputs: Tensor, targets: Tensor, blocks: int) -> dict[str, float]:
    """Wall milliseconds per step with the noise drawn in the step, and on a second thread."""
    taken: dict[str, list[float]] = {"in_step": [], "second_thread": []}
    for _ in range(blocks):
        for name, announced in (("in_step", 0), ("second_thread", BLOCK + 1)):
            _, step, close = private_step(case, inputs, targets, steps=announced)
            step()  # allocates
            begin = time.perf_counter()
            for _ in range(BLOCK):
                step()
            taken[name].append((time.perf_counter() - begin) / BLOCK)
            close()
    return {name: round(1000 * statistics.median(found), 1) for name, found in taken.items()}


def run(case: Case, repeats: int) -> dict[str, object]:
    inputs, targets = case.draw(case.batch, torch.Generator().manual_seed(1))
    mode, ours, _ = private_step(case, inputs, targets)
    count = sum(p.numel() for p in case.private().parameters())
    steps = {"plain": plain_step(case, inputs, targets), "edgeveil": ours}
    for name in STOCK if case.stock else ():
        steps[f"opacus {name}"] = stock_step(case, inputs, targets, name)
    for forced in FORCED if case.base == "forced" else ():
        steps[forced] = private_step(case, inputs, targets, modes=(forced,))[1]
    steps["noise alone"] = lambda: (gaussian(count, SIGMA), None)[1]
    found = measure(steps, repeats)
    ours_ms = found["edgeveil"]["cpu_ms"]
    base = case.base
    rivals = {"opacus": [f"opacus {name}" for name in STOCK], "forced": [*FORCED]}
    if base in rivals:
        base = min(rivals[base], key=lambda name: found[name]["cpu_ms"])
    return {
        "model": case.name,
        "parameters": count,
        "engine": mode,
        **found,
        "ratio": round(ours_ms / found[base]["cpu_ms"], 2),
        "ratio_to": base,
        "at_most": case.least,
        "wall": noise_ahead(case, inputs, targets, max(3, repeats // 3)) if case.ahead else {},
        "noise_ms_per_100k": round(found["noise alone"]["cpu_ms"] * 1e5 / count, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "doctor_mb": needed_memory(count) >> 20,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--model", action="append", help="default: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    wanted = [case for case in cases() if case.name in (chosen.model or [case.name])]
    rows = [run(case, chosen.repeats) for case in wanted]
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return 0
    load = os.getloadavg()[0]
    print(
        f"batch {BATCH} (16 of detection), CPU ms per step (median of {chosen.repeats}), load {load:.1f}"
    )
    names = ("plain", "edgeveil", "opacus ghost", "opacus hooks", *FORCED, "noise alone")
    print("model      params    engine " + " ".join(f"{name:>13}" for name in names) + "  ratio")
    for row in rows:
        cells = " ".join(f"{row[name]['cpu_ms']:13.1f}" if name in row else f"{'-':>13}" for name in names)  # type: ignore[index]  # fmt: skip
        told = f"{row['ratio']:.2f} of {row['ratio_to']} (at most {row['at_most']})"
        print(f"{row['model']:10} {row['parameters']:8,} {row['engine']:6} {cells}  {told}")
    for row in rows:
        wall = ""
        if row["wall"]:
            alone, ahead = row["wall"]["in_step"], row["wall"]["second_thread"]  # type: ignore[index]
            wall = f"wall {alone} ms, {ahead} ms with the noise on a second thread; "
        told = f"noise {row['noise_ms_per_100k']} ms CPU per 100,000 parameters (at most 7)"
        memory = f"at most {row['peak_mb']} MB so far, agent doctor asks for {row['doctor_mb']} MB"
        print(f"{row['model']}: {wall}{told}; {memory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
