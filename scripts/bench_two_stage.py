"""What detection-two-stage learns on composed scenes, from a public body of scenes of other clothes.

Scenes, cameras, seeds and federation are those of scripts/bench_detection.py. The body comes from
scripts/public_body.py: first under the heads of `detection`, with batch normalisation, which needs batches and so
cannot be had in private training; then with fixed scales and shifts in its place, in two stages.

python scripts/public_body.py body.safetensors --variant two-stage
python scripts/bench_two_stage.py pooled|federated|private --body body.safetensors [--epsilon 8] [--seed 0] [--json]
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench_detection as one_stage
import numpy as np
import torch
from bench_detection import CLASSES
from torch import nn
from two_stage import BATCH, TASK, learned

from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.tasks.detection.targets import Squares
from edgeveil.shared.tasks.detection.two_stage.network import Look
from edgeveil.shared.tasks.detection.two_stage.options import TwoStageOptions
from edgeveil.shared.tasks.detection.two_stage.task import Pictures
from edgeveil.shared.vector.model_vector import unflatten

STEPS, ROUNDS = 200, 3
WITHOUT_NOISE = one_stage.WITHOUT_NOISE | {
    "batch_size": BATCH,
    "learning_rate": 5e-4,
    "warmup": 1,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("--body", type=Path, required=True, help="of scripts/public_body.py --variant two-stage")  # fmt: skip
    parser.add_argument("--epsilon", type=float, action="append", help="default: 8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS, help="of pooled")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of federated")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    return one_stage.tell(PARTS, chosen)


def options_of(**changes: Any) -> TwoStageOptions:
    return TASK.parse_options({"labels": ",".join(CLASSES), "size": 128, "boxes_max": 8, **changes})


def cameras(seed: int) -> tuple[list[Pictures], Pictures, Pictures]:
    own, validation, test = one_stage.cameras(one_stage.options_of(), seed)
    return [pictures(each) for each in own], pictures(validation), pictures(test)


def pictures(records: Squares) -> Pictures:
    return Pictures(records.images, records.boxes)


def together(sets: list[Pictures]) -> Pictures:
    return Pictures(*(np.concatenate([getattr(each, name) for each in sets]) for name in ("images", "boxes")))  # fmt: skip


def started(path: Path, options: TwoStageOptions) -> nn.Module:
    """With all of the file that fits, as a plan's `[model] initial` takes it."""
    module = TASK.build(options)
    found = checkpoint.parse(checkpoint.read(path))
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, array in unflatten(found.vector, found.tensors).items():
            if parameters[name].shape == array.shape and not (
                options.train == "classes" and parameters[name].requires_grad
            ):
                parameters[name].copy_(torch.from_numpy(array.copy()))
    return module


def pooled(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    options = options_of()
    own, validation, test = cameras(chosen.seed)
    module = started(chosen.body, options)
    learned(module, together(own), chosen.steps, chosen.seed)
    yield {"steps": chosen.steps, **one_stage.judged(module, options, TASK, validation=validation, test=test)}  # fmt: skip


def federated(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    options = options_of()
    module = started(chosen.body, options)
    task = Started(module)
    yield from one_stage.averaged(task, options, module, cameras(chosen.seed), asked=WITHOUT_NOISE, rounds=chosen.rounds)  # fmt: skip


class Started:
    """The task with the frozen part of this model, as devices get it."""

    def __init__(self, module: nn.Module) -> None:
        self._values = module.state_dict()

    def __getattr__(self, name: str) -> Any:
        return getattr(TASK, name)

    def build(self, options: TwoStageOptions) -> nn.Module:
        module = TASK.build(options)
        module.load_state_dict(self._values)
        return module


class OnProposals:
    """The task with what a frozen model makes of each proposal as its input: computed once, equal to the whole.

    An input is (P, width + 4): what is seen, and the corners.
    """

    def __init__(self, path: Path, options: TwoStageOptions) -> None:
        self._whole = started(path, options).eval()
        self._seen: list[torch.Tensor] = []
        self._probes: dict[tuple[int, int], Any] = {}
        self._whole.box_predictor.register_forward_pre_hook(lambda _, inputs: self._seen.append(inputs[0]))  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        return getattr(TASK, name)

    def build(self, options: TwoStageOptions) -> nn.Module:
        made = OnSeen(TASK.build(options).box_predictor)
        made.predictor.load_state_dict(self._whole.box_predictor.state_dict())
        return made

    def probe(self, count: int, random: torch.Generator, options: TwoStageOptions) -> Any:
        """Asked for anew in every round, and the same for one seed."""
        key = count, random.initial_seed()
        if key not in self._probes:
            inputs, targets = TASK.probe(count, random, options)
            self._probes[key] = self._features(inputs), targets
        return self._probes[key]

    def of(self, records: Pictures) -> "Features":
        inputs, targets = records.take(np.arange(len(records)))
        return Features(self._features(inputs), targets)

    def _features(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        self._seen.clear()
        with torch.no_grad():
            found = self._whole(inputs)
        return [torch.cat((seen, look.proposals), dim=1) for seen, look in zip(self._seen, found, strict=True)]  # fmt: skip


class Features:
    def __init__(self, inputs: list[torch.Tensor], targets: torch.Tensor) -> None:
        self._inputs, self._targets = inputs, targets
        self.skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self._inputs)

    def take(self, rows: np.ndarray) -> tuple[list[torch.Tensor], torch.Tensor]:
        return [self._inputs[row] for row in rows], self._targets[torch.from_numpy(rows)]


class OnSeen(nn.Module):
    """One anchor that lies nowhere and is sure to show nothing stands for the first stage, which has no part here."""

    def __init__(self, predictor: nn.Module) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, inputs: list[torch.Tensor]) -> list[Look]:
        nowhere = torch.tensor([[-2.0, -2.0, -1.0, -1.0]])
        return [
            Look(torch.tensor([-20.0]), torch.zeros(1, 4), nowhere, each[:, -4:], *self.predictor(each[:, :-4]))
            for each in inputs
        ]  # fmt: skip


def private(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    options = options_of(train="classes")
    task = OnProposals(chosen.body, options)
    own, validation, test = cameras(chosen.seed)
    sets = ([task.of(records) for records in own], task.of(validation), task.of(test))
    yield from one_stage.private_rounds(task, options, chosen.epsilon or [8.0], sets)


PARTS = {"pooled": pooled, "federated": federated, "private": private}

if __name__ == "__main__":
    sys.exit(main())
