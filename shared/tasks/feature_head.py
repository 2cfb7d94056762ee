"""feature-head: a linear classifier on public image features that are the same for everybody.

The best choice for small federations: thousands of parameters instead of tens of thousands mean less
noise in total, and a start at zero means that the first step already points the right way. The features
are computed once on the device; only the head is trained and travels. `features` names them:
`orientation` (shared/tasks/features.py), `blocks` (shared/tasks/block_features.py), or what the frozen
network of shared/tasks/backbone makes of pictures in colours.
"""

from collections.abc import Callable
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import nn

from edgeveil.shared.data.images import Images, relabelled
from edgeveil.shared.tasks import images, registry
from edgeveil.shared.tasks.augmentation import pictures
from edgeveil.shared.tasks.backbone import asset
from edgeveil.shared.tasks.backbone.embedding import embed
from edgeveil.shared.tasks.block_features import block_feature_count, block_features
from edgeveil.shared.tasks.features import feature_count, fixed_features, with_bias
from edgeveil.shared.tasks.modules import trainable, zero_linear
from edgeveil.shared.tasks.records import ArrayRecords, Batch
from edgeveil.shared.tasks.spec import RawOptions, TaskSpec, parse
from edgeveil.shared.wire.messages import Tensor

Features = Literal["orientation", "blocks", "efficientnet-lite0"]

PREPROCESSING: dict[Features, str] = {
    "orientation": "0..1; fixed-v1: orientation histograms and pooled pixels, unit length, bias",
    "blocks": "0..1; blocks-v1: block-normalised orientation histograms on two scales and pooled "
    "pixels, unit length, bias",
    "efficientnet-lite0": "0..1, then (255 x - 127) / 128; efficientnet-lite0-v1: pooled numbers of the "
    f"frozen network {asset.SHA256[:16]}, square roots, unit length, bias {asset.BIAS}",
}
_HISTOGRAMS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "orientation": fixed_features,
    "blocks": block_features,
}


class FeatureHeadOptions(images.ImageOptions):
    variant: Literal["fixed"] = "fixed"
    features: Features = "orientation"

    @model_validator(mode="before")
    @classmethod
    def _are_computed_once(cls, values: Any) -> Any:
        for name in sorted(pictures.NAMES & set(values)) if isinstance(values, dict) else ():
            raise ValueError(
                f"{name}: features are computed once for each picture, so pictures cannot be varied from "
                'step to step; leave it out, or train image-classification, variant "cnn"'
            )
        return values

    @model_validator(mode="after")
    def _takes_such_pictures(self) -> Self:
        square = self.height == self.width and self.height in asset.SIDES
        if self.features == asset.NAME and not (square and self.channels == 3):
            sides = ", ".join(str(side) for side in asset.SIDES)
            raise ValueError(
                f"features {asset.NAME} take channels = 3, and height = width = one of {sides}"
            )
        return self

    @property
    def values(self) -> int:
        return asset.NUMBERS if self.features == asset.NAME else super().values

    @property
    def inputs(self) -> int:
        """Numbers of one record, the bias among them."""
        if self.features == asset.NAME:
            return asset.NUMBERS + 1
        count = feature_count if self.features == "orientation" else block_feature_count
        return count(self.height, self.width, self.channels)


class FeatureHead(images.ImageTask):
    spec: TaskSpec = registry.find("feature-head", "1.2.0")

    def parse_options(self, raw: RawOptions) -> FeatureHeadOptions:
        return parse(FeatureHeadOptions, raw, self.spec.id)

    def prepare(
        self, found: Images, labels: tuple[str, ...], options: FeatureHeadOptions
    ) -> ArrayRecords:
        if options.features != asset.NAME or not isinstance(found, asset.EmbeddedImages):
            return super().prepare(found, labels, options)
        mapped = relabelled(found, labels, options.class_names)
        return ArrayRecords(with_bias(found.embedded, asset.BIAS), mapped.targets, mapped.skipped)

    def inputs(
        self, pixels: NDArray[np.float32], options: FeatureHeadOptions
    ) -> NDArray[np.float32]:
        """(N, options.inputs); 589 numbers of orientations for grey 28×28. May raise NotInstalled."""
        if options.features == asset.NAME:
            return with_bias(embed(pixels), asset.BIAS)
        return _HISTOGRAMS[options.features](pixels)

    def build(self, options: FeatureHeadOptions) -> nn.Module:
        """The head alone. Raises NotInstalled if its features need weights that are not here."""
        if options.features == asset.NAME:
            asset.check_weights()
        return zero_linear(options.inputs, options.classes, bias=False)

    def tensors(self, options: FeatureHeadOptions) -> tuple[Tensor, ...]:
        return trainable(self.build(options))

    def probe(
        self, count: int, random: torch.Generator, options: FeatureHeadOptions
    ) -> tuple[Batch, Batch]:
        return images.probe(count, (options.inputs,), random, options)

    def signature(self, options: FeatureHeadOptions) -> dict[str, object]:
        return images.schema(options, PREPROCESSING[options.features])


TASK = FeatureHead()
