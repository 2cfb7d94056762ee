"""feature-head: a linear classifier on fixed public image features (shared/tasks/features.py).

The best choice for small federations: 5,890 parameters instead of tens of thousands means less
noise in total, and a start at zero means that the first step already points the right way. The
features are computed once on the device; only the head is trained and travels.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeveil.shared.tasks import images, registry
from edgeveil.shared.tasks.features import feature_count, fixed_features
from edgeveil.shared.tasks.modules import trainable, zero_linear
from edgeveil.shared.tasks.spec import Examples, RawOptions, Reduction, TaskSpec
from edgeveil.shared.wire.messages import Tensor

PREPROCESSING = "grey 0..1; fixed-v1: orientation histograms and pooled pixels, unit length, bias"


class FeatureHeadOptions(images.ImageOptions):
    variant: Literal["fixed"] = "fixed"


class FeatureHead:
    spec: TaskSpec = registry.find("feature-head", "1.0.0")

    def parse_options(self, raw: RawOptions) -> FeatureHeadOptions:
        return images.parse(FeatureHeadOptions, raw, self.spec.id)

    def load(self, path: Path, options: FeatureHeadOptions) -> Examples:
        found = images.read(path, options)
        inputs = fixed_features(found.pixels)  # (N, 589) for 28×28
        return Examples(inputs, found.targets, options.class_names, found.skipped)

    def build(self, options: FeatureHeadOptions) -> nn.Module:
        return zero_linear(
            feature_count(options.height, options.width), options.classes, bias=False
        )

    def tensors(self, options: FeatureHeadOptions) -> tuple[Tensor, ...]:
        return trainable(self.build(options))

    def criterion(self, reduction: Reduction) -> nn.Module:
        return images.criterion(reduction)

    def confusion(self, outputs: torch.Tensor, targets: torch.Tensor) -> NDArray[np.int64]:
        return images.count(outputs, targets)

    def signature(self, options: FeatureHeadOptions) -> dict[str, object]:
        return images.schema(options, PREPROCESSING)


TASK = FeatureHead()
