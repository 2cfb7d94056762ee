"""Layers that cannot be trained privately whatever is around them: they keep or use statistics of a batch."""

from torch import nn


def statistics_fault(module: nn.Module) -> str:
    """Which layer uses statistics of the batch or of the data, by its path, and the fix; or "".

    Frozen layers count too: a frozen BatchNorm in training mode still uses the batch's statistics.
    """
    for name, part in module.named_modules():
        where = f"{name or 'the model'} ({type(part).__name__})"
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training:  # noqa: SLF001  the one common base
            return f"{where} uses the statistics of the batch; replace it with GroupNorm"
        if isinstance(part, nn.modules.instancenorm._InstanceNorm) and part.track_running_stats:  # noqa: SLF001  the one common base
            return f"{where} keeps statistics of the data; set track_running_stats=False"
    return ""
