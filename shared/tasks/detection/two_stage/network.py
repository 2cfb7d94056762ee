"""Faster R-CNN on MobileNetV3 with a feature pyramid, of torchvision's parts, for one picture at a time.

Ren et al. 2015 (arXiv 1506.01497), Howard et al. 2019 (arXiv 1905.02244), Lin et al. 2017 (arXiv 1612.03144).
torchvision's own switches freeze nothing without weights, keep batch normalisation, which mixes records, and
add in place. So here the body is frozen by hand, each normalisation in it is a frozen scale and shift, and
nothing happens in place.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import mobilenet_backbone
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.models.mobilenetv3 import InvertedResidual
from torchvision.ops import Conv2dNormActivation, MultiScaleRoIAlign
from torchvision.ops.misc import SqueezeExcitation

from edgeveil.shared.tasks.detection.two_stage.options import TwoStageOptions

SEED = 18_959  # public: every installation starts from the same weights
STAGES = [2, 3, 4]  # of the body, with strides 8, 16 and 32; a fourth level of the pyramid has 64
LEVELS, CHANNELS, POOLED = ("0", "1", "2"), 256, 7
SMALLEST, LARGEST = 16, 0.9  # anchors: the first side in pixels, the last as a share of the picture
OF_LEVEL = 2  # sides of each level
RATIOS = (0.5, 1.0, 2.0)
CANDIDATES, PROPOSALS = 256, 64  # of a level before suppression, of a picture after it
ALIKE = 0.7  # overlap above which a proposal goes
PROPOSED, FOUND = BoxCoder((1.0, 1.0, 1.0, 1.0)), BoxCoder((10.0, 10.0, 5.0, 5.0))
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what public weights expect


class Look(NamedTuple):
    """Of one picture, corners in its pixels: of each anchor (A,) whether something is there, how far it is
    shifted (A, 4), its corners (A, 4); of each proposal its corners (P, 4), logits (P, 1 + C) with nothing
    first, and its shift (P, 4).
    """

    there: Tensor
    moved: Tensor
    anchors: Tensor
    proposals: Tensor
    logits: Tensor
    shifts: Tensor


class Affine(nn.Module):
    """Scale and shift of each channel, frozen: a batch normalisation that has seen its last batch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(channels), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Residual(nn.Module):
    """torchvision's block, which would add in place."""

    def __init__(self, block: nn.Sequential, *, adds: bool) -> None:
        super().__init__()
        self.block, self._adds = block, adds

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.block(x)
        return x + found if self._adds else found


def anchor_sides(size: int) -> tuple[tuple[float, ...], ...]:
    """Of the anchors of each level in pixels, in even steps."""
    count = OF_LEVEL * (len(LEVELS) + 1)
    step = (LARGEST * size / SMALLEST) ** (1 / (count - 1))
    every = [SMALLEST * step**at for at in range(count)]
    return tuple(tuple(every[at : at + OF_LEVEL]) for at in range(0, count, OF_LEVEL))


class Predictor(nn.Module):
    """Of a proposal: which class it shows, and how far its box is off, whatever it shows.

    One shift for all classes, so that it can be learned on others and stay as it is.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes = nn.Linear(width, 1 + classes)
        self.shift = nn.Linear(width, 4)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        return self.classes(seen), self.shift(seen)


class TwoStage(nn.Module):
    """A list of pictures (3, S, S) in 0..1 → a Look at each. Each is looked at alone."""

    def __init__(self, options: TwoStageOptions) -> None:
        super().__init__()
        self.backbone = mobilenet_backbone(
            backbone_name="mobilenet_v3_large",
            weights=None,
            fpn=True,
            norm_layer=Affine,
            returned_layers=STAGES,
        )
        sizes = anchor_sides(options.size)
        anchors = AnchorGenerator(sizes, (RATIOS,) * len(sizes))
        few = {"training": CANDIDATES, "testing": CANDIDATES}
        most = {"training": PROPOSALS, "testing": PROPOSALS}
        head = RPNHead(CHANNELS, anchors.num_anchors_per_location()[0])
        self.rpn = RegionProposalNetwork(anchors, head, 0.7, 0.3, 256, 0.5, few, most, ALIKE)
        self._pool = MultiScaleRoIAlign(list(LEVELS), POOLED, sampling_ratio=2)
        self.box_head = TwoMLPHead(CHANNELS * POOLED**2, options.width)
        self.box_predictor = Predictor(options.width, len(options.class_names))

    def forward(self, pictures: list[Tensor]) -> list[Look]:
        return [self._look(picture) for picture in pictures]

    def _look(self, picture: Tensor) -> Look:
        sides = (picture.shape[1], picture.shape[2])
        mean, deviation = picture.new_tensor(MEAN), picture.new_tensor(DEVIATION)
        x = ((picture - mean[:, None, None]) / deviation[:, None, None])[None]
        maps = self.backbone(x)
        levels = list(maps.values())
        there, moved = self.rpn.head(levels)
        anchors = self.rpn.anchor_generator(ImageList(x, [sides]), levels)
        counts = [each[0].numel() for each in there]
        there, moved = concat_box_prediction_layers(there, moved)
        with torch.no_grad():
            placed = self.rpn.box_coder.decode(moved, anchors).view(1, -1, 4)
            (proposals,), _ = self.rpn.filter_proposals(placed, there, [sides], counts)
        logits, shifts = self.box_predictor(self.box_head(self._pool(maps, [proposals], [sides])))
        return Look(there[:, 0], moved, anchors[0], proposals, logits, shifts)


def two_stage(options: TwoStageOptions) -> TwoStage:
    """With the same first weights on every machine; only those that `train` names take a gradient."""
    with torch.random.fork_rng(devices=[]):  # torchvision's parts draw from torch's own generator
        torch.manual_seed(SEED)
        made = TwoStage(options)
    body = made.backbone.body
    _out_of_place(made)
    _initialise(body)
    made.requires_grad_(options.train == "all")
    body.requires_grad_(False)
    made.box_predictor.classes.requires_grad_(True)
    if options.train == "classes":  # what is known of other classes helps none
        nn.init.zeros_(made.box_predictor.classes.weight)
        nn.init.zeros_(made.box_predictor.classes.bias)
    return made


def _out_of_place(module: nn.Module) -> None:
    for name, part in module.named_children():
        if isinstance(part, InvertedResidual):
            setattr(module, name, Residual(part.block, adds=part.use_res_connect))
        _out_of_place(part)
    for part in module.modules():
        if hasattr(part, "inplace"):
            part.inplace = False  # type: ignore[assignment]  # a plain attribute of torch's layers


def _initialise(body: nn.Module) -> None:
    """So that signals keep their size without statistics: gates let half of it through."""
    random = torch.Generator().manual_seed(SEED)
    for part in body.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, generator=random)
    for part in body.modules():
        if isinstance(part, Residual):
            gated = any(isinstance(each, SqueezeExcitation) for each in part.block)
            last = part.block[-1]
            if isinstance(last, Conv2dNormActivation) and isinstance(last[1], Affine):
                nn.init.constant_(last[1].weight, 1.2 if gated else 0.6)
