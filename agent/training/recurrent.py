"""Recurrent layers of torch in the form that has gradients per record: same names, same values, same output.

torch's own run over time in one call that per-record hooks cannot look into; Opacus computes the same step
by step, and asks its hooks twice in each. Here each of a layer's two maps is asked once for all steps. Only what
travels matters, and that is the same vector: `named_parameters()` has each weight once and by the same name.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from edgeveil.agent.training.engines.opacus_parts import DPGRU, DPLSTM, DPRNN

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
    # Of this instance: Opacus leaves layers alone whose type is its own, and no other.
    made.forward_layer = MethodType(_at_once, made)  # type: ignore[assignment]  # a method, not a part
    return made.train(layer.training)


def _at_once(self: Any, x: Any, h_0: Tensor, c_0: Tensor | None, *rest: Any, **more: Any) -> Any:
    """A layer in one direction whose maps `cell.ih` and `cell.hh` see (B, T, …), so that hooks run once for each.

    The map of states needs states before there are any: a first run without gradients makes them. In the second
    the weights of the recurrence stand still, and a term that is zero, W·h − (W·h), carries their gradient: of
    what a step gets, ∂/∂W is through that term and ∂/∂h through the weights that stand still, which is all of it.
    Packed sequences, and dropout between steps, go the way of Opacus.
    """
    if more["is_packed"] or self.dropout:
        return type(self).forward_layer(self, x, h_0, c_0, *rest, **more)
    cell, back = more["cell"], more["reverse_layer"]
    run: Any = _lstm if c_0 is not None else _steps
    given = cell.ih((x.flip(0) if back else x).transpose(0, 1))
    moved = None
    if torch.is_grad_enabled():
        with torch.no_grad():
            made, _ = run(cell, given, None, h_0, c_0)
        moved = cell.hh(torch.cat([h_0[:, None], made[:, :-1]], dim=1))
        moved = moved - moved.detach()
    states, memory = run(cell, given, moved, h_0, c_0)
    whole = states.transpose(0, 1)
    return whole.flip(0) if back else whole, whole[-1], memory


def _held(cell: Any) -> list[Tensor]:
    """Weight, and bias if there is one, of the recurrence, standing still."""
    return [each.detach() for each in (cell.hh.weight, cell.hh.bias) if each is not None]


def _lstm(
    cell: Any, given: Tensor, moved: Tensor | None, state: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """States (B, T, H) and the last memory, by torch's own run: all it adds to what it is given is the recurrence."""
    held, inputs = _held(cell), given if moved is None else given + moved
    same = torch.eye(inputs.shape[2], dtype=inputs.dtype, device=inputs.device)
    weights = [
        same,
        held[0],
        *(pair for bias in held[1:] for pair in (torch.zeros_like(bias), bias)),
    ]
    states, _, last = torch.lstm(
        inputs, (state[None], memory[None]), weights, len(held) > 1, 1, 0.0, False, False, True
    )
    return states, last[0]


def _steps(
    cell: Any, given: Tensor, moved: Tensor | None, state: Tensor, _memory: None
) -> tuple[Tensor, None]:
    """The same of torch.nn.GRUCell and RNNCell, step by step."""
    held, states = _held(cell), []
    for at in range(given.shape[1]):
        told = linear(state, *held)
        if moved is not None:
            told = told + moved[:, at]
        if hasattr(cell, "nonlinearity"):
            state = getattr(torch, cell.nonlinearity)(given[:, at] + told)
        else:
            reset_x, kept_x, new_x = given[:, at].chunk(3, dim=1)
            reset_h, kept_h, new_h = told.chunk(3, dim=1)
            new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
            kept = (kept_x + kept_h).sigmoid()
            state = (1 - kept) * new + kept * state
        states.append(state)
    return torch.stack(states, dim=1), None
