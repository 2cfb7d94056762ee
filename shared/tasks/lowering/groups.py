"""Group normalisation behind a convolution, as onnxruntime computes it fast and torch rounds it.

Its own form is a chain of passes over the whole map, each in a layout that convolutions are not computed in. Here
means of x and x² come from poolings, which stay in the layout of convolutions; what they make is one product and one
sum for each channel. A rectifier never falls, so a maximum behind it may be taken before: then product, sum and
rectifier see a quarter of the map. Channels of negative scale change their sign in the convolution first, which
leaves their maxima maxima. Small maps stay as they are: there a pass costs less than another operator.
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST = 1 << 17  # values of a record's map


class Normalised(nn.Module):
    """Convolution, normalisation, rectifier and, where it comes next, a maximum over places."""

    signs: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        convolution: nn.Conv2d,
        norm: nn.GroupNorm,
        rectifier: nn.Module,
        pooling: nn.Module | None,
    ) -> None:
        super().__init__()
        scale, shift = norm.weight.detach(), norm.bias.detach()
        signs = torch.where(scale < 0, -1.0, 1.0)
        self.convolution = convolution.requires_grad_(False)
        self.convolution.weight *= signs[:, None, None, None]
        if self.convolution.bias is not None:
            self.convolution.bias *= signs
        self.rectifier, self.pooling, self._eps = rectifier, pooling, norm.eps
        self._mixed = bool((signs < 0).any())
        for name, values in (("signs", signs), ("scale", scale.abs()), ("shift", shift)):
            self.register_buffer(name, values.reshape(1, norm.num_groups, -1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        means = self._signed(_mean(self._signed(self._by_group(_mean(x)))))
        squares = _mean(self._by_group(_mean(x * x)))
        width = ((squares - means * means).clamp(min=0) + self._eps).sqrt()
        times = self.scale / width
        plus = self.shift - times * means
        if self.pooling is not None:
            x = self.pooling(x)
        found: Tensor = self.rectifier(x * self._by_channel(times) + self._by_channel(plus))
        return found

    def _signed(self, means: Tensor) -> Tensor:
        return means * self.signs if self._mixed else means

    def _by_group(self, each: Tensor) -> Tensor:
        """(n, channels, 1, 1) → (n, groups, channels of each, 1)."""
        return each.reshape(-1, *self.scale.shape[1:])

    def _by_channel(self, each: Tensor) -> Tensor:
        return each.reshape(-1, self.convolution.out_channels, 1, 1)


def _mean(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, (x.shape[2], x.shape[3]))


def lowered(module: nn.Module, records: Tensor) -> nn.Module:
    """A copy that computes the same of `records` and their like; `module` stays as it is."""
    made = copy.deepcopy(module).eval()
    large: set[nn.Module] = set()

    def look(layer: nn.Module, _: object, given: Tensor) -> None:
        if given[0].numel() >= LEAST:
            large.add(layer)

    hooks = [each.register_forward_hook(look) for each in made.modules() if isinstance(each, nn.Conv2d)]  # fmt: skip
    with torch.inference_mode():
        made(records)
    for each in hooks:
        each.remove()
    return _lowered(made, large) if large else made


def _lowered(module: nn.Module, large: set[nn.Module]) -> nn.Module:
    if _is_chain(module):
        return nn.Sequential(*_joined([_lowered(each, large) for each in _flat(module)], large))
    for name, child in module.named_children():
        setattr(module, name, _lowered(child, large))
    return module


def _is_chain(module: nn.Module) -> bool:
    """Whether it is its parts one after another, and nothing else."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if _is_chain(child):
            yield from _flat(child)
        else:
            yield child


def _joined(parts: list[nn.Module], large: set[nn.Module]) -> Iterator[nn.Module]:
    while parts:
        match parts:
            case [
                nn.Conv2d() as first,
                nn.GroupNorm(affine=True) as norm,
                (nn.ReLU() | nn.LeakyReLU()) as last,
                *rest,
            ] if first in large:
                pooling = rest.pop(0) if rest and isinstance(rest[0], nn.MaxPool2d) else None
                yield Normalised(first, norm, last, pooling)
                parts = rest
            case _:
                yield parts.pop(0)
