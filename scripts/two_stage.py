"""A public detector of two stages, from pictures that everybody may use, for scripts/public_body.py and the bench.

Its body learns first under the heads of `detection`, with batch normalisation: that needs batches, which private
training has not. Then a fixed scale and shift stand in place of each normalisation, and all else learns in two stages.
"""

import bench_detection as one_stage
import numpy as np
import torch
from bench_detection import falling
from torch import nn
from torchvision.models.detection.backbone_utils import mobilenet_backbone

from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.detection.augmentation import DRAWS, augmented
from edgeveil.shared.tasks.detection.networks import Detector, Head, begin
from edgeveil.shared.tasks.detection.options import DetectionOptions
from edgeveil.shared.tasks.detection.targets import Squares, grid
from edgeveil.shared.tasks.detection.two_stage.network import CHANNELS, DEVIATION, MEAN, STAGES
from edgeveil.shared.tasks.detection.two_stage.options import TwoStageOptions
from edgeveil.shared.tasks.detection.two_stage.task import Pictures

TASK = registry.load(registry.newest("detection-two-stage"))
BATCH, RATE, DECAY, WARM_UP, LONGEST = 4, 6e-4, 1e-4, 30, 10.0  # in two stages
EPS, MOMENTUM = 1e-3, 0.05  # of batch normalisation while the body learns


def learned(module: nn.Module, records: Pictures, steps: int, seed: int) -> None:  # fmt: skip
    """In one place, in two stages, what takes a gradient; without noise."""
    module.train()
    parts = [each for each in module.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parts, lr=RATE, weight_decay=DECAY)
    criterion = TASK.criterion("mean")
    rows = one_stage.batches(len(records), np.random.default_rng(seed), BATCH)
    random = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP) * falling(step / steps)
        inputs, targets = records.take(next(rows))
        draws = torch.rand((len(inputs), DRAWS), generator=random)
        seen, targets = augmented(torch.stack(inputs), targets, draws)
        optimizer.zero_grad()
        criterion(module(list(seen)), targets).backward()
        nn.utils.clip_grad_norm_(parts, LONGEST)
        optimizer.step()


class Pyramid(nn.Module):
    """The body with batch normalisation, and the pyramid over it, as far as heads of `detection` go."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = mobilenet_backbone(
            backbone_name="mobilenet_v3_large",
            weights=None,
            fpn=True,
            norm_layer=lambda channels: nn.BatchNorm2d(channels, EPS, MOMENTUM),
            returned_layers=STAGES,
            trainable_layers=6,
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        mean, deviation = x.new_tensor(MEAN)[:, None, None], x.new_tensor(DEVIATION)[:, None, None]
        fine, coarse, *_ = self.backbone((x - mean) / deviation).values()
        return fine, coarse


def public(options: TwoStageOptions, records: Pictures, steps: int, seed: int) -> nn.Module:
    """A whole detector of public pictures: so many steps of its body, then three fifths as many in two stages."""
    raw = {"labels": options.labels, "size": options.size, "boxes_max": options.boxes_max}
    flat: DetectionOptions = one_stage.TASK.parse_options(raw)
    heads = [Head(CHANNELS, scale, len(flat.class_names)) for scale in flat.scales]
    begin(heads, torch.Generator().manual_seed(seed))
    body = Detector(Pyramid(), heads).train()
    squares = Squares(records.images, records.boxes, grid(flat.scales, flat.loss))
    plain = one_stage.Plain(body, squares, seed)
    optimizer = plain.optimizer()
    for step in range(steps):
        plain.step(optimizer, one_stage.RATE * min(1, (step + 1) / one_stage.WARM_UP) * falling(step / steps))  # fmt: skip
    module = TASK.build(options)
    module.load_state_dict(module.state_dict() | folded(body.trunk.state_dict()))
    learned(module, records, max(1, 3 * steps // 5), seed)
    return module.requires_grad_(True)  # all of it is packed


def folded(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same with a fixed scale and shift in place of each batch normalisation."""
    made = {}
    for name, value in values.items():
        place, _, what = name.rpartition(".")
        if f"{place}.running_var" not in values:
            made[name] = value
        elif what in {"weight", "bias"}:
            scale = values[f"{place}.weight"] / (values[f"{place}.running_var"] + EPS).sqrt()
            shift = values[f"{place}.bias"] - values[f"{place}.running_mean"] * scale
            made[name] = scale if what == "weight" else shift
    return made
