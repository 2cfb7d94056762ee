"""image-classification: a small convolutional network, or a linear model on pixels.

GroupNorm instead of BatchNorm, and no operation in place: every record's gradient is a function of
that record alone, which the privacy proof needs. For 28×28 and ten classes `cnn` has 20,586
parameters, `linear` 7,850; in colours (`channels` 3) 20,874 and 23,530.
"""

import math
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import nn

from edgeveil.shared.tasks import images, registry
from edgeveil.shared.tasks.augmentation import pictures
from edgeveil.shared.tasks.augmentation.draws import Draws, RecordDropout
from edgeveil.shared.tasks.features import flat_pixels
from edgeveil.shared.tasks.modules import empty, freeze_all_but, trainable, zero_linear
from edgeveil.shared.tasks.records import Batch
from edgeveil.shared.tasks.spec import RawOptions, TaskSpec, parse
from edgeveil.shared.wire.messages import Tensor

WIDTHS = (16, 32)
GROUPS = 4
INITIAL_SEED = 20_586  # public: every installation starts from the same weights

PREPROCESSING = {
    "cnn": "0..1, then (x - 0.5) / 0.5",
    "linear": "0..1, centred and scaled to length 1 per record, bias 0.2",
}


class ImageClassificationOptions(pictures.PictureVariations, images.ImageOptions):
    TRAINING = images.ImageOptions.TRAINING | pictures.NAMES

    variant: Literal["cnn", "linear"] = "cnn"

    @model_validator(mode="after")
    def _has_pictures_to_vary(self) -> Self:
        if self.variant != "cnn" and self.varied:
            raise ValueError(
                f"{self.varied[0]}: variant {self.variant!r} takes numbers that are computed once, not "
                'pictures that could be varied; leave it out, or choose variant "cnn"'
            )
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        return ("all", "head") if self.variant == "cnn" else ("all",)


class ImageClassification(images.ImageTask):
    spec: TaskSpec = registry.find("image-classification", "1.2.0")

    def parse_options(self, raw: RawOptions) -> ImageClassificationOptions:
        return parse(ImageClassificationOptions, raw, self.spec.id)

    def inputs(
        self, pixels: NDArray[np.float32], options: ImageClassificationOptions
    ) -> NDArray[np.float32]:
        if options.variant == "linear":
            return flat_pixels(pixels)  # (N, H·W·C + 1)
        planes = pixels[:, np.newaxis] if options.channels == 1 else np.moveaxis(pixels, 3, 1)
        return (planes - np.float32(0.5)) / np.float32(0.5)  # (N, C, H, W)

    def augment(
        self, inputs: Batch, targets: Batch, draws: Draws, options: ImageClassificationOptions
    ) -> tuple[Batch, Batch]:
        return pictures.varied(inputs, options, draws), targets

    def build(self, options: ImageClassificationOptions) -> nn.Module:
        return _linear(options) if options.variant == "linear" else _cnn(options)

    def tensors(self, options: ImageClassificationOptions) -> tuple[Tensor, ...]:
        return trainable(self.build(options))

    def probe(
        self, count: int, random: torch.Generator, options: ImageClassificationOptions
    ) -> tuple[Batch, Batch]:
        sides = (options.channels, options.height, options.width)
        shape = (math.prod(sides) + 1,) if options.variant == "linear" else sides
        return images.probe(count, shape, random, options)

    def signature(self, options: ImageClassificationOptions) -> dict[str, object]:
        return images.schema(options, PREPROCESSING[options.variant])


def _linear(options: ImageClassificationOptions) -> nn.Module:
    inputs = options.height * options.width * options.channels + 1
    return zero_linear(inputs, options.classes, bias=False)


def _cnn(options: ImageClassificationOptions) -> nn.Module:
    # A generator of our own: the process-wide one stays untouched.
    random = torch.Generator().manual_seed(INITIAL_SEED)
    first, second = WIDTHS
    flat = second * (options.height // images.STRIDE) * (options.width // images.STRIDE)
    blocks = (*_block(options.channels, first, random), *_block(first, second, random))
    head = zero_linear(flat, options.classes, bias=True)
    # In one place, so that a model has the same names with dropout and without.
    flattened = nn.Sequential(nn.Flatten(), RecordDropout(options.dropout))
    module = nn.Sequential(*blocks, flattened, head)
    return freeze_all_but(module, head) if options.train == "head" else module


def _block(channels: int, width: int, random: torch.Generator) -> tuple[nn.Module, ...]:
    convolution = empty(nn.Conv2d(channels, width, kernel_size=3, padding=1, device="meta"))
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu", generator=random)
    return convolution, nn.GroupNorm(GROUPS, width), nn.ReLU(), nn.MaxPool2d(2)


TASK = ImageClassification()
