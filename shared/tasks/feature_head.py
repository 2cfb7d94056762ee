"""feature-head: a linear classifier on fixed public image features (shared/tasks/features.py).

The best choice for small federations: 5,890 parameters instead of tens of thousands means less
noise in total, and a start at zero means that the first step already points the right way. The
features are computed once on the device; only the head is trained and travels.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeveil.shared.tasks import images, registry
from edgeveil.shared.tasks.features import feature_count, fixed_features
from edgeveil.shared.tasks.modules import trainable, zero_linear
from edgeveil.shared.tasks.records import Batch
from edgeveil.shared.tasks.spec import RawOptions, TaskSpec
from edgeveil.shared.wire.messages import Tensor

PREPROCESSING = "0..1; fixed-v1: orientation histograms and pooled pixels, unit length, bias"


class FeatureHeadOptions(images.ImageOptions):
    variant: Literal["fixed"] = "fixed"


class FeatureHead(images.ImageTask):
    spec: TaskSpec = registry.find("feature-head", "1.2.0")

    def parse_options(self, raw: RawOptions) -> FeatureHeadOptions:
        return images.parse(FeatureHeadOptions, raw, self.spec.id)

    def inputs(
        self, pixels: NDArray[np.float32], _options: FeatureHeadOptions
    ) -> NDArray[np.float32]:
        return fixed_features(pixels)  # (N, 589) for grey 28×28

    def build(self, options: FeatureHeadOptions) -> nn.Module:
        return zero_linear(_inputs(options), options.classes, bias=False)

    def tensors(self, options: FeatureHeadOptions) -> tuple[Tensor, ...]:
        return trainable(self.build(options))

    def probe(
        self, count: int, random: torch.Generator, options: FeatureHeadOptions
    ) -> tuple[Batch, Batch]:
        return images.probe(count, (_inputs(options),), random, options)

    def signature(self, options: FeatureHeadOptions) -> dict[str, object]:
        return images.schema(options, PREPROCESSING)


def _inputs(options: FeatureHeadOptions) -> int:
    return feature_count(options.height, options.width, options.channels)


TASK = FeatureHead()
