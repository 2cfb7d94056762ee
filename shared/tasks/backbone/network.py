"""EfficientNet-Lite0 up to its pooled 1,280 numbers, with batch normalisation folded into the convolutions.

Tan & Le (arXiv 1905.11946) in the form for small devices: no squeeze-and-excite, ReLU6, a stem and a head
of fixed width. What is left of normalisation after folding is a bias for each channel, so a record's
numbers are a function of that record alone. Frozen: nothing here has a gradient.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

STEM, HEAD, CLASSES = 32, 1280, 1000
STAGES = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
EPSILON = 1e-3  # of the batch normalisation it was trained with

Weights = dict[str, Tensor]
Pad = Callable[[Tensor, int, int], Tensor]


def padded(values: Tensor, before: int, after: int) -> Tensor:
    """(B, C, H, W) with so many zeros before and after, along both sides."""
    return functional.pad(values, (before, after) * 2)


class Trunk(nn.Module):
    """(B, 3, H, W), sides multiples of 32, → (B, HEAD)."""

    def __init__(self, weights: Mapping[str, Tensor], pad: Pad | None = None) -> None:
        """Raise ValueError unless `weights` hold every tensor of the network and no other.

        `pad` does what padded() does, in another way.
        """
        super().__init__()
        left = dict(weights)
        self.stem = _Convolution(left, "_conv_stem", "_bn0", (3, STEM), kernel=3, stride=2)
        self.blocks = nn.Sequential(*_blocks(left))
        self.head = _Convolution(left, "_conv_head", "_bn1", (STAGES[-1][4], HEAD))
        _take(left, "_fc.weight", (CLASSES, HEAD))  # what it was trained to say is of no use here
        _take(left, "_fc.bias", (CLASSES,))
        if left:
            raise ValueError(f"the weights hold {len(left)} tensors that the network does not have")
        for part in self.modules():
            if isinstance(part, _Convolution) and pad is not None:
                part.pad = pad
        self.requires_grad_(requires_grad=False).eval()

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(pictures))).mean(dim=(2, 3))  # type: ignore[no-any-return]


def _blocks(left: Weights) -> Iterator[nn.Module]:
    before, number = STEM, 0
    for repeats, kernel, stride, expansion, channels in STAGES:
        for at in range(repeats):
            name = f"_blocks.{number}"
            step = stride if at == 0 else 1
            wide = before * expansion
            yield _Block(left, name, (before, wide, channels), kernel=kernel, stride=step)
            before, number = channels, number + 1


class _Block(nn.Module):
    """Widen, filter each channel by itself, narrow; the input is added where it has the same shape."""

    def __init__(
        self,
        left: Weights,
        name: str,
        channels: tuple[int, int, int],
        *,
        kernel: int,
        stride: int,
    ) -> None:
        super().__init__()
        before, wide, after = channels
        layers: list[nn.Module] = []
        if wide > before:
            layers.append(
                _Convolution(left, f"{name}._expand_conv", f"{name}._bn0", (before, wide))
            )
        depthwise = _Convolution(
            left,
            f"{name}._depthwise_conv",
            f"{name}._bn1",
            (wide, wide),
            kernel=kernel,
            stride=stride,
            groups=wide,
        )
        narrow = f"{name}._project_conv", f"{name}._bn2"
        layers += [depthwise, _Convolution(left, *narrow, (wide, after), active=False)]
        self.layers = nn.Sequential(*layers)
        self.adds = stride == 1 and before == after

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        return inputs + outputs if self.adds else outputs


class _Convolution(nn.Module):
    """A convolution, its folded normalisation and, if `active`, ReLU6; padded as TensorFlow's "same"."""

    def __init__(
        self,
        left: Weights,
        name: str,
        norm: str,
        channels: tuple[int, int],
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        before, after = channels
        weight = _take(left, f"{name}.weight", (after, before // groups, kernel, kernel)).double()
        scale, shift, mean, variance = (
            _take(left, f"{norm}.{part}", (after,)).double()
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        _take(left, f"{norm}.num_batches_tracked", ())
        factor = scale / (variance + EPSILON).sqrt()
        folded = (weight * factor.view(-1, 1, 1, 1)).float()
        self.weight = nn.Parameter(folded.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter((shift - mean * factor).float())
        self.kernel, self.stride, self.groups, self.active = kernel, stride, groups, active
        self.pad: Pad = padded

    def forward(self, inputs: Tensor) -> Tensor:
        inside = self.kernel // 2
        if self.stride > 1:  # an even side: one pixel more after than before
            inputs, inside = self.pad(inputs, inside - 1, inside), 0
        outputs = functional.conv2d(
            inputs, self.weight, self.bias, self.stride, inside, groups=self.groups
        )
        return functional.relu6(outputs) if self.active else outputs


def _take(left: Weights, name: str, shape: tuple[int, ...]) -> Tensor:
    """Take a tensor out of those that are left; raises ValueError."""
    found = left.pop(name, None)
    if found is None or tuple(found.shape) != shape:
        raise ValueError(f"the weights hold no {name} of shape {shape}")
    return found
