"""detection: a detector of the YOLOv3 family on squares of any pictures with boxes.

`lite` has 473,920 parameters with three classes, `tiny` a quarter as wide 546,932 and whole 8,674,496, `full`
61,534,504. A plan may train everything, or of a public model only what tells classes apart: that is what
a privacy budget can pay for (docs/tasks/detection.md).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeveil.shared.data.boxes.fitting import truths
from edgeveil.shared.data.boxes.reading import BoxRecords, relabelled
from edgeveil.shared.data.boxes.schema import BoxSchema
from edgeveil.shared.data.boxes.sights import Sight
from edgeveil.shared.scores import boxes, detection, matching
from edgeveil.shared.scores.tallies import Tallies, TallyForm
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.augmentation.draws import SHIFT, Draws
from edgeveil.shared.tasks.detection import networks, targets
from edgeveil.shared.tasks.detection.augmentation import DRAWS, augmented
from edgeveil.shared.tasks.detection.loss import DetectionLoss
from edgeveil.shared.tasks.detection.options import DetectionOptions
from edgeveil.shared.tasks.detection.showing import sight
from edgeveil.shared.tasks.detection.targets import Squares
from edgeveil.shared.tasks.modules import trainable
from edgeveil.shared.tasks.records import Batch
from edgeveil.shared.tasks.spec import RawOptions, Reduction, TaskSpec, parse
from edgeveil.shared.wire.messages import Tensor


class Detection:
    spec: TaskSpec = registry.find("detection", "1.0.0")

    def parse_options(self, raw: RawOptions) -> DetectionOptions:
        return parse(DetectionOptions, raw, self.spec.id)

    def schema(self, options: DetectionOptions) -> BoxSchema:
        return BoxSchema(options.size, options.class_names)

    def load(self, path: Path, options: DetectionOptions) -> Squares:
        asked = self.schema(options)
        return self.prepare(asked.read(path), asked.labels, options)

    def prepare(
        self, found: BoxRecords, labels: tuple[str, ...], options: DetectionOptions
    ) -> Squares:
        rows = relabelled(found, labels, options.class_names, options.boxes_max)
        grid = targets.grid(options.scales, options.loss)
        return Squares(found.pixels, rows, grid, found.skipped)

    def build(self, options: DetectionOptions) -> nn.Module:
        return networks.detector(options)

    def tensors(self, options: DetectionOptions) -> tuple[Tensor, ...]:
        return trainable(self.build(options))

    def criterion(self, reduction: Reduction) -> nn.Module:
        return DetectionLoss(reduction)

    def augment(
        self, inputs: Batch, targets: Batch, draws: Draws, options: DetectionOptions
    ) -> tuple[Batch, Batch]:
        if not options.vary or options.train == "classes":
            return inputs, targets
        return augmented(inputs, targets, draws.uniform(SHIFT, DRAWS))

    def probe(
        self, count: int, random: torch.Generator, options: DetectionOptions
    ) -> tuple[Batch, Batch]:
        return targets.probe(count, random, options)

    def tally_form(self, options: DetectionOptions) -> TallyForm:
        return matching.form(len(options.class_names), options.boxes_max)

    def tallies(
        self, outputs: torch.Tensor, wanted: torch.Tensor, options: DetectionOptions
    ) -> Tallies:
        """Right and wrong boxes and truths (edgeveil.shared.scores.matching) after suppression."""
        classes = len(options.class_names)
        each = zip(outputs.cpu().numpy(), wanted.cpu().numpy(), strict=True)
        return Tallies.listed(
            [
                matching.cells(boxes.detections(rows, options.size), *truths(target), classes)
                for rows, target in each
            ]
        )

    def metrics(self, tally: NDArray[np.int64], options: DetectionOptions) -> dict[str, float]:
        return detection.scores(tally, len(options.class_names)).figures()

    def keep(self, tally: NDArray[np.int64], options: DetectionOptions) -> dict[str, Any]:
        return detection.kept(tally, options.class_names)

    def show(
        self, inputs: Batch, outputs: torch.Tensor, wanted: Batch, options: DetectionOptions
    ) -> list[Sight]:
        return [
            sight(image, target, boxes.detections(rows, options.size), options.class_names)
            for image, rows, target in zip(inputs, outputs.numpy(), wanted, strict=True)
        ]

    def signature(self, options: DetectionOptions) -> dict[str, object]:
        return {
            "input": {
                "kind": "image", "channels": 3, "height": options.size, "width": options.size,
                "range": [0.0, 1.0],
            },
            "preprocessing": "RGB 0..1, fitted into a square with grey margins",
            "output": "boxes",
            "classes": list(options.class_names),
        }  # fmt: skip


TASK = Detection()
