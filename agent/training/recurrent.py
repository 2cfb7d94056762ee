"""Recurrent layers of torch in the form that has gradients per record: same names, same values, same output.

torch's own run over time in one call that per-record hooks cannot look into; Opacus computes the same step
by step. Only what travels matters, and that is the same vector: `named_parameters()` has each weight once
and by the same name in both.
"""

import torch
from opacus.layers import DPGRU, DPLSTM, DPRNN
from torch import nn

TWINS: dict[type[nn.RNNBase], type[nn.Module]] = {nn.GRU: DPGRU, nn.LSTM: DPLSTM, nn.RNN: DPRNN}


def trained_form(module: nn.Module) -> nn.Module:
    """The module with each recurrent layer of torch replaced by its twin; others stay as they are.

    What has no twin (LSTM with a projection) stays too, and is refused by its path when the model is
    judged (agent.training.validate). Draws nothing from the process-wide random generator.
    """
    kind = type(module)
    if kind in TWINS:
        return _twin(module) if _has_twin(module) else module  # type: ignore[arg-type]  # a key of TWINS
    for name, part in list(module.named_children()):
        found = trained_form(part)
        if found is not part:
            setattr(module, name, found)
    return module


def _has_twin(layer: nn.RNNBase) -> bool:
    return not getattr(layer, "proj_size", 0)


def _twin(layer: nn.RNNBase) -> nn.Module:
    more = {"nonlinearity": layer.nonlinearity} if isinstance(layer, nn.RNN) else {}
    with torch.random.fork_rng(devices=()):
        made: nn.Module = TWINS[type(layer)](
            layer.input_size,
            layer.hidden_size,
            num_layers=layer.num_layers,
            bias=layer.bias,
            batch_first=layer.batch_first,
            dropout=layer.dropout,
            bidirectional=layer.bidirectional,
            **more,
        )
    values = dict(layer.named_parameters())
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_(values[name])
            parameter.requires_grad_(values[name].requires_grad)
    return made.train(layer.training)
