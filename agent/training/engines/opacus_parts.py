"""The parts of Opacus that are used, without the rest of it.

`import opacus` takes as long as `import torch`: it loads distributed tensors, symbolic shapes and
accountants (scipy.stats), of which nothing is used here. So its packages stand unexecuted until
somebody asks one for a name that it lacks; modules below them are Opacus' own, loaded as ever.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

__all__ = [
    "DPGRU",
    "DPLSTM",
    "DPRNN",
    "DPOptimizer",
    "DPOptimizerFastGradientClipping",
    "ModuleValidator",
    "prepare_module",
]


def _unexecuted(name: str) -> None:
    """Put package `name` into place; it is executed when it is asked for what it does not have."""
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return  # there already, or the import below says what is missing
    module, loader = importlib.util.module_from_spec(spec), spec.loader

    def whole(attribute: str) -> Any:
        if attribute.startswith("__"):  # asked by tools that look at every module
            raise AttributeError(attribute)
        del module.__dict__["__getattr__"]
        loader.exec_module(module)
        return getattr(module, attribute)

    module.__dict__["__getattr__"] = whole
    sys.modules[name] = module
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, module)


@contextmanager
def _without_distributed() -> Iterator[None]:
    """Opacus' optimiser names DTensor in annotations, and in nothing else."""
    name = "torch.distributed.tensor"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__dict__["DTensor"] = object
    try:
        yield
    finally:
        del sys.modules[name]


for _name in ("opacus", "opacus.optimizers"):
    _unexecuted(_name)
with _without_distributed():
    from opacus.grad_sample.utils import prepare_module
    from opacus.layers import DPGRU, DPLSTM, DPRNN
    from opacus.optimizers.optimizer import DPOptimizer
    from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
    from opacus.validators import ModuleValidator
