"""detection-two-stage: Faster R-CNN on squares of any pictures with boxes, one picture at a time.

Records, tally and figures are those of detection. With three classes it has 6.9 million
parameters, of which those of the body are frozen. Models of it are not packaged: what it gives of a picture
are lists of no fixed length.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.ops import batched_nms

from edgeveil.shared.data.boxes.fitting import truths
from edgeveil.shared.data.boxes.reading import BoxRecords, relabelled
from edgeveil.shared.data.boxes.schema import BoxSchema
from edgeveil.shared.data.boxes.sights import Sight
from edgeveil.shared.scores import boxes, detection, matching
from edgeveil.shared.scores.tallies import Tallies, TallyForm
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.detection import targets
from edgeveil.shared.tasks.detection.showing import sight
from edgeveil.shared.tasks.detection.two_stage.loss import TwoStageLoss
from edgeveil.shared.tasks.detection.two_stage.network import FOUND, Look, two_stage
from edgeveil.shared.tasks.detection.two_stage.options import TwoStageOptions
from edgeveil.shared.tasks.modules import trainable
from edgeveil.shared.tasks.records import Batch, Rows
from edgeveil.shared.tasks.spec import RawOptions, Reduction, TaskSpec, parse
from edgeveil.shared.wire.messages import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """`images` (N, 3, S, S) of 8 bits; `boxes` (N, boxes_max, 5) padded."""

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Rows) -> tuple[Batch, Batch]:
        """A list of pictures (3, S, S) in 0..1, since each goes alone, and targets (B, boxes_max, 5)."""
        images = torch.from_numpy(self.images[rows]).float() / 255
        return list(images), torch.from_numpy(self.boxes[rows])


class TwoStageDetection:
    spec: TaskSpec = registry.find("detection-two-stage", "1.0.0")

    def parse_options(self, raw: RawOptions) -> TwoStageOptions:
        return parse(TwoStageOptions, raw, self.spec.id)

    def schema(self, options: TwoStageOptions) -> BoxSchema:
        return BoxSchema(options.size, options.class_names)

    def load(self, path: Path, options: TwoStageOptions) -> Pictures:
        asked = self.schema(options)
        return self.prepare(asked.read(path), asked.labels, options)

    def prepare(
        self, found: BoxRecords, labels: tuple[str, ...], options: TwoStageOptions
    ) -> Pictures:
        rows = relabelled(found, labels, options.class_names, options.boxes_max)
        return Pictures(found.pixels, rows, found.skipped)

    def build(self, options: TwoStageOptions) -> nn.Module:
        return two_stage(options)

    def tensors(self, options: TwoStageOptions) -> tuple[Tensor, ...]:
        return trainable(self.build(options))

    def criterion(self, reduction: Reduction) -> nn.Module:
        return TwoStageLoss(reduction)

    def probe(
        self, count: int, random: torch.Generator, options: TwoStageOptions
    ) -> tuple[Batch, Batch]:
        images, rows = targets.made_up(count, random, options)
        return list(images), rows

    def tally_form(self, options: TwoStageOptions) -> TallyForm:
        return matching.form(len(options.class_names), options.boxes_max)

    def tallies(
        self, outputs: list[Look], wanted: torch.Tensor, options: TwoStageOptions
    ) -> Tallies:
        """As of detection, of the `found_max` surest boxes of a picture."""
        classes = len(options.class_names)
        each = zip(outputs, wanted.numpy(), strict=True)
        return Tallies.listed(
            [
                matching.cells(found_in(look, options), *truths(target), classes)
                for look, target in each
            ]
        )

    def metrics(self, tally: NDArray[np.int64], options: TwoStageOptions) -> dict[str, float]:
        return detection.scores(tally, len(options.class_names)).figures()

    def keep(self, tally: NDArray[np.int64], options: TwoStageOptions) -> dict[str, Any]:
        return detection.kept(tally, options.class_names)

    def show(
        self, inputs: Batch, outputs: list[Look], wanted: Batch, options: TwoStageOptions
    ) -> list[Sight]:
        return [
            sight(image, target, found_in(look, options), options.class_names)
            for image, look, target in zip(inputs, outputs, wanted, strict=True)
        ]

    def signature(self, options: TwoStageOptions) -> dict[str, object]:
        return {
            "input": {
                "kind": "image", "channels": 3, "height": options.size, "width": options.size,
                "range": [0.0, 1.0],
            },
            "preprocessing": "RGB 0..1, fitted into a square with grey margins",
            "output": "proposals",
            "classes": list(options.class_names),
        }  # fmt: skip


def found_in(look: Look, options: TwoStageOptions) -> boxes.Rows:
    """(D, 6): class, score and corners, the surest first; what is not finite is no detection."""
    classes = len(options.class_names)
    scores = look.logits.softmax(dim=1)[:, 1:]
    corners = FOUND.decode_single(look.shifts, look.proposals).clamp(0, options.size)
    corners = corners.repeat_interleave(classes, dim=0)
    kinds = torch.arange(classes).repeat(len(scores))
    sure = scores.flatten()
    usable = torch.isfinite(corners).all(dim=1) & (sure > boxes.LEAST_SCORE)
    kinds, sure, corners = kinds[usable], sure[usable], corners[usable]
    kept = batched_nms(corners, sure, kinds, boxes.OVERLAP)[: options.found_max]
    found = torch.cat([kinds[kept, None], sure[kept, None], corners[kept]], dim=1)
    return found.detach().double().numpy()


TASK = TwoStageDetection()
