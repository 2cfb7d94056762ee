"""Networks of the YOLOv3 family: GroupNorm, nothing in place, one output (B, rows, 5 + classes).

A row is centre x, centre y, width and height in pixels of the picture, then logits: is an object there, and
of which class. Rows are ordered by scale, anchor, line and column. `lite` is ours; `tiny` follows YOLOv3-tiny
and `full` YOLOv3 on Darknet-53 (Redmon and Farhadi 2018, arXiv 1804.02767), with GroupNorm (Wu and He 2018,
arXiv 1803.08494) in place of batch normalisation, which would mix records.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgeveil.shared.tasks.detection.options import DetectionOptions, Scale
from edgeveil.shared.tasks.modules import empty

SEED = 473_920  # public: every installation starts from the same weights
GROUPS = (8, 4, 2, 1)  # of a normalisation, the first that leaves at least two channels to each
SLOPE = 0.1
BOX = 5  # numbers of a row before its classes
NO_OBJECT, NO_CLASS = -4.5, -1.0  # logits to start from: nearly nothing is an object


class Block(nn.Sequential):
    """Convolution, normalisation, rectifier."""

    def __init__(self, taken: int, given: int, kernel: int = 3, stride: int = 1) -> None:
        groups = next(each for each in GROUPS if given % each == 0 and given >= 2 * each)
        layer = nn.Conv2d(
            taken, given, kernel, stride, padding=kernel // 2, bias=False, device="meta"
        )
        super().__init__(empty(layer), nn.GroupNorm(groups, given), nn.LeakyReLU(SLOPE))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(Block(width, width // 2, 1), Block(width // 2, width))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.path(x)
        return x + found


class Twice(nn.Module):
    """Every pixel four times, with operators that a packaged graph may hold."""

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.stack((x, x), dim=4).flatten(3)
        return torch.stack((wide, wide), dim=3).flatten(2, 3)


class Head(nn.Module):
    """(B, C, side, side) → (B, anchors · side², 5 + classes); what tells classes apart is a layer of its own."""

    def __init__(self, taken: int, scale: Scale, classes: int) -> None:
        super().__init__()
        count = len(scale.anchors)
        self._count, self._stride = count, scale.stride
        self.boxes = empty(nn.Conv2d(taken, count * BOX, 1, device="meta"))
        self.classes = empty(nn.Conv2d(taken, count * classes, 1, device="meta"))
        line = torch.arange(scale.side, dtype=torch.float32) - 0.5
        down, across = torch.meshgrid(line, line, indexing="ij")
        self._cells = torch.stack((across, down), dim=2)  # (side, side, 2)
        self._anchors = torch.tensor(scale.anchors)[:, None, None]  # (A, 1, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        boxes, classes = self._planes(self.boxes(x)), self._planes(self.classes(x))
        place = 2 * boxes.narrow(4, 0, 2).sigmoid() + self._cells.to(x.device)
        size = (2 * boxes.narrow(4, 2, 2).sigmoid()).square() * self._anchors.to(x.device)
        parts = (place * self._stride, size, boxes.narrow(4, 4, 1), classes)
        return torch.cat(parts, dim=4).flatten(1, 3)

    def _planes(self, x: Tensor) -> Tensor:
        """(B, A·K, side, side) → (B, A, side, side, K)."""
        apart = torch.unflatten(x, 1, (self._count, -1))
        return apart.permute(0, 1, 3, 4, 2)


class Detector(nn.Module):
    """`trunk` yields features of each scale, the finest first; `heads` make rows of them."""

    def __init__(self, trunk: nn.Module, heads: list[Head]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.trunk(x)
        return torch.cat([head(each) for head, each in zip(self.heads, maps, strict=True)], dim=1)


class Lite(nn.Module):
    """Strides 8 and 16; 473,920 parameters with three classes."""

    def __init__(self, wide: Callable[[int], int]) -> None:
        super().__init__()
        a, b, c, d = (wide(width) for width in (16, 32, 64, 128))
        self.fine = nn.Sequential(
            Block(3, a, 5, 2), Block(a, b, 3, 2), Block(b, b),
            Block(b, c, 3, 2), Block(c, c), Block(c, c),
        )  # fmt: skip
        self.coarse = nn.Sequential(Block(c, d, 3, 2), Block(d, d), Block(d, c, 1))
        self.down = Block(c, d)
        self.up = nn.Sequential(Block(c, b, 1), Twice())
        self.joined = Block(c + b, c)
        self.widths = (c, d)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(x)
        coarse = self.coarse(fine)
        return self.joined(torch.cat((self.up(coarse), fine), dim=1)), self.down(coarse)


class Tiny(nn.Module):
    """YOLOv3-tiny, strides 16 and 32; its one pooling without a stride takes 3×3 in place of 2×2."""

    def __init__(self, wide: Callable[[int], int]) -> None:
        super().__init__()
        a, b, c, d, e, f, g = (wide(16 << at) for at in range(7))
        steps: list[nn.Module] = []
        for taken, given in ((3, a), (a, b), (b, c), (c, d)):
            steps += [Block(taken, given), nn.MaxPool2d(2)]
        self.fine = nn.Sequential(*steps, Block(d, e))
        self.coarse = nn.Sequential(
            nn.MaxPool2d(2), Block(e, f), nn.MaxPool2d(3, 1, 1), Block(f, g), Block(g, e, 1)
        )
        self.down = Block(e, f)
        self.up = nn.Sequential(Block(e, d, 1), Twice())
        self.joined = Block(e + d, e)
        self.widths = (e, f)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(x)
        coarse = self.coarse(fine)
        return self.joined(torch.cat((self.up(coarse), fine), dim=1)), self.down(coarse)


class Darknet(nn.Module):
    """Darknet-53 with the pyramid of YOLOv3, strides 8, 16 and 32."""

    def __init__(self, wide: Callable[[int], int]) -> None:
        super().__init__()
        a, b, c, d, e, f = (wide(32 << at) for at in range(6))
        self.fine = nn.Sequential(Block(3, a), *_stage(a, b, 1), *_stage(b, c, 2), *_stage(c, d, 8))
        self.middle = nn.Sequential(*_stage(d, e, 8))
        self.coarse = nn.Sequential(*_stage(e, f, 4), *_neck(f, e))
        self.up_middle = nn.Sequential(Block(e, d, 1), Twice())
        self.joined_middle = nn.Sequential(*_neck(d + e, d))
        self.up_fine = nn.Sequential(Block(d, c, 1), Twice())
        self.joined_fine = nn.Sequential(*_neck(c + d, c))
        self.last = nn.ModuleList([Block(c, d), Block(d, e), Block(e, f)])
        self.widths = (d, e, f)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        fine = self.fine(x)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.joined_middle(torch.cat((self.up_middle(coarse), middle), dim=1))
        fine = self.joined_fine(torch.cat((self.up_fine(middle), fine), dim=1))
        maps = (fine, middle, coarse)
        return tuple(last(each) for last, each in zip(self.last, maps, strict=True))


def _stage(taken: int, given: int, blocks: int) -> list[nn.Module]:
    return [Block(taken, given, 3, 2), *(Residual(given) for _ in range(blocks))]


def _neck(taken: int, given: int) -> list[nn.Module]:
    wide = 2 * given
    return [
        Block(taken, given, 1), Block(given, wide), Block(wide, given, 1),
        Block(given, wide), Block(wide, given, 1),
    ]  # fmt: skip


_TRUNKS: dict[str, type[Lite | Tiny | Darknet]] = {"lite": Lite, "tiny": Tiny, "full": Darknet}


def detector(options: DetectionOptions) -> Detector:
    """With the same first weights on every machine; only those that `train` names take a gradient."""
    trunk = _TRUNKS[options.variant](lambda width: max(4, int(width * options.thinned)))
    classes = len(options.class_names)
    heads = [
        Head(width, scale, classes)
        for width, scale in zip(trunk.widths, options.scales, strict=True)
    ]
    made = Detector(trunk, heads)
    _initialise(trunk, heads)
    if options.train == "classes":
        made.requires_grad_(False)
        for head in heads:
            nn.init.zeros_(head.classes.weight)  # what is known of other classes helps none
            head.classes.requires_grad_(True)
    return made


def _initialise(trunk: nn.Module, heads: list[Head]) -> None:
    random = torch.Generator().manual_seed(SEED)
    for part in trunk.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, SLOPE, generator=random)
    begin(heads, random)


def begin(heads: list[Head], random: torch.Generator) -> None:
    """Nearly nothing is an object, and of no class in particular."""
    for head in heads:
        for layer in (head.boxes, head.classes):
            nn.init.normal_(layer.weight, std=0.01, generator=random)
        with torch.no_grad():
            nn.init.constant_(_bias(head.classes), NO_CLASS)
            start = torch.zeros(BOX)
            start[BOX - 1] = NO_OBJECT
            _bias(head.boxes).copy_(start.repeat(len(_bias(head.boxes)) // BOX))


def _bias(layer: nn.Conv2d) -> Tensor:
    if layer.bias is None:
        raise TypeError("a head without biases")
    return layer.bias
