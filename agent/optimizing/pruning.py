"""Channels taken out of a model by torch-pruning, the smallest first, and a new graph of what is left.

What follows the channels is fitted anew to this device's records (reconstruction.py); fine-tuning would train on them,
which only rounds do, charged. With group normalisation the tool may take fewer channels than asked for, or none, without a word: what it achieved is
counted here.
"""

import contextlib
import copy
import io
import logging
import warnings
from typing import Any

import numpy as np
import torch
import torch_pruning
from numpy.typing import NDArray
from safetensors.torch import load
from torch import nn

from edgeveil.agent.compression.graphs import plain, run
from edgeveil.agent.optimizing.reconstruction import refit
from edgeveil.shared.base.errors import ConfigError, ModelError, ProtocolError
from edgeveil.shared.models.package import Package
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.graphs import Packaged, packaged

OPSET = 20
TOLERANCE = 1e-4  # relative L2 distance of the new graph from torch
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)


def pruned(
    package: Package, share: float, records: NDArray[np.float32] | None = None
) -> tuple[bytes, float]:
    """The graph, and the share of channels that is gone, of those that are not the output's.

    With `records` (n, *shape), as the graph takes them, what is left is fitted to them: it then tells of them.

    Raises:
        ConfigError: models of this kind are not pruned here, or no channel can go.
        ModelError: the package was made by another build, or the new graph is off.
    """
    whole, module = _rebuilt(package)
    if any(isinstance(each, nn.RNNBase) for each in module.modules()):
        raise ConfigError("--prune: recurrent layers are not pruned; try --sparse, or 8 bits alone")
    last = _last(module, whole.prepared[:2])
    before = _channels(module, last)
    if not before:
        raise ConfigError("--prune: this model has no channels to prune; leave the option out")
    original = copy.deepcopy((whole.module, module))
    kept = _prune(module, whole.prepared[:2], share, last)
    achieved = 1 - _channels(module, last) / before
    if not achieved:
        raise ConfigError(
            f"--prune {share:g}: no channel could be taken out (group normalisation holds them together); ask for "
            "another share"
        )
    if records is not None:
        refit((whole.module, module), original, kept, torch.from_numpy(records))
    return _exported(whole), achieved


def _rebuilt(package: Package) -> tuple[Packaged, nn.Module]:
    """The model as torch knows it: `module` is a part of what goes into the graph."""
    told = package.manifest.task
    if package.manifest.derived is not None:
        raise ConfigError("--prune: this model was made here of another one; prune that one")
    try:
        spec = registry.find(told.id, told.version)
    except ProtocolError as error:
        raise ModelError(f"--prune: {error.message}") from error
    if spec.task_hash().hex() != told.hash:
        raise ModelError(
            f"the code of {told.id} {told.version} here is not that which trained this model; update edgeveil"
        )
    task = registry.load(spec)
    raw: dict[str, Any] = dict(told.options)
    options = task.parse_options(raw)
    module = task.build(options).eval()
    module.load_state_dict(load(package.weights))
    return packaged(task, options, module), module


def _channels(module: nn.Module, last: list[nn.Module]) -> int:
    """Of all layers but the last ones, on the side of their outputs."""
    layers = [each for each in module.modules() if isinstance(each, LAYERS) and each not in last]
    return sum(each.weight.shape[0] for each in layers)


def _prune(
    module: nn.Module, inputs: torch.Tensor, share: float, last: list[nn.Module]
) -> dict[str, torch.Tensor]:
    """In place; what the model gives keeps its shape. Tells which outputs of each layer are left."""
    numbered = copy.deepcopy(module)
    for layer in numbered.modules():
        if isinstance(layer, LAYERS):
            count, *others = layer.weight.shape
            numbers = torch.arange(count, dtype=torch.float32).reshape(-1, *(1 for _ in others))
            layer.weight.data = numbers.expand_as(layer.weight).clone()
    pruner = torch_pruning.pruner.BasePruner(
        module,
        inputs,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=share,
        ignored_layers=last,
    )
    with _quiet():
        pruner.step()
        again = torch_pruning.DependencyGraph().build_dependency(numbered, inputs)
        again.load_pruning_history(pruner.pruning_history())
    return {
        name: layer.weight.detach().flatten(1)[:, 0].long()
        for name, layer in numbered.named_modules()
        if isinstance(layer, LAYERS)
    }


def _last(module: nn.Module, inputs: torch.Tensor) -> list[nn.Module]:
    """Layers whose channels are those of the output, found by taking one out of each."""
    with torch.inference_mode():
        shape = module(inputs).shape
    names = [name for name, each in module.named_modules() if isinstance(each, LAYERS)]
    found = []
    for name in names:
        trial = copy.deepcopy(module)
        layer = trial.get_submodule(name)
        try:
            graph = torch_pruning.DependencyGraph().build_dependency(trial, inputs)
            linear = isinstance(layer, nn.Linear)
            cut = torch_pruning.prune_linear_out_channels if linear else torch_pruning.prune_conv_out_channels  # fmt: skip
            groups = [each.num_groups for each in trial.modules() if isinstance(each, nn.GroupNorm)]
            count = max(1, *groups) if groups else 1
            graph.get_pruning_group(layer, cut, idxs=list(range(count))).prune()
            with torch.inference_mode():
                kept = trial(inputs).shape == shape
        except (RuntimeError, ValueError, IndexError, AttributeError, AssertionError, TypeError):
            kept = False
        if not kept:
            found.append(module.get_submodule(name))
    return found


def _exported(whole: Packaged) -> bytes:
    with _quiet():
        program = torch.onnx.export(
            whole.module.eval(),
            (torch.from_numpy(whole.raw[:2]),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["records"],
            output_names=["rows" if whole.rows else "logits"],
            dynamic_shapes=({0: "n"},),
            external_data=False,
            verbose=False,
        )
    made: Any = program.model_proto if program is not None else None
    if made is None:
        raise ModelError("torch made no graph of the pruned model")
    graph = plain(made)
    with torch.inference_mode():
        wanted = whole.module(torch.from_numpy(whole.raw)).numpy()
    away = float(np.linalg.norm(run(graph, whole.raw) - wanted))
    away /= max(float(np.linalg.norm(wanted)), 1e-6)
    if not away <= TOLERANCE:
        raise ModelError(f"the graph of the pruned model is off by {away:.2g}; nothing was written")
    return graph


@contextlib.contextmanager
def _quiet() -> Any:
    """Tools tell a long story; what matters is compared afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
