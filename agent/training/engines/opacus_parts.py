"""The parts of Opacus that are used, without the rest of it, and torch's optimisers without its compiler.

`import opacus` takes as long as `import torch`: it loads distributed tensors, symbolic shapes and
accountants (scipy.stats), of which nothing is used here; and an optimiser's first step loads torch's compiler
to tell it what not to compile. So these packages stand unexecuted until somebody asks one for a name
that it lacks; modules below them are their own, loaded as ever.
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


def _unexecuted(name: str, *, below: bool, **has: Any) -> None:
    """Put package `name` into place; it is executed when it is asked for more than it `has`.

    Modules `below` it can be had without it, or have it executed as well.
    """
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return  # there already, or the import below says what is missing
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    own = dict(module.__dict__)

    def whole(attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__path__":  # tools look at every module
            raise AttributeError(attribute)
        del module.__dict__["__getattr__"]
        module.__dict__.update(own)
        loader.exec_module(module)
        return getattr(module, attribute)

    module.__dict__.update(has, __getattr__=whole)
    if not below:
        del module.__dict__["__path__"]
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)


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


def _as_it_is(function: Any, *_how: object, **_options: object) -> Any:
    return function


_unexecuted("opacus", below=True)
_unexecuted("opacus.optimizers", below=True)
_unexecuted("torch._dynamo", below=False, disable=_as_it_is, graph_break=lambda *_: None)
with _without_distributed():
    from opacus.grad_sample.utils import prepare_module
    from opacus.layers import DPGRU, DPLSTM, DPRNN
    from opacus.optimizers.optimizer import DPOptimizer
    from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
    from opacus.validators import ModuleValidator
