"""Model and loss: the same start everywhere, and each record's gradient a function of that record alone."""

import math
from pathlib import Path

import numpy as np
import torch

from edgeveil.shared.tasks.batches import joined, one, size, taken
from edgeveil.shared.tasks.conformance.subject import (
    COUNT,
    OTHERS,
    PLACE,
    Broken,
    Subject,
    alike,
    gradient,
    spoiled,
)
from edgeveil.shared.tasks.modules import read_vector, trainable
from edgeveil.shared.tasks.records import Batch
from edgeveil.shared.tasks.spec import tallied
from edgeveil.shared.vector.model_vector import check_tensors

TOLERANCE = 1e-5  # relative, of a gradient in float32
COMPANIES = ([PLACE, 0, 8], [1, 2, 3, PLACE], list(range(COUNT)))


def says_its_size(subject: Subject, _folder: Path) -> None:
    tensors = subject.task.tensors(subject.options)
    check_tensors(tensors)
    if tensors != trainable(subject.task.build(subject.options)):
        raise Broken("tensors() are not the trainable parameters of build(), ascending by name")


def starts_alike(subject: Subject, _folder: Path) -> None:
    task, options = subject.task, subject.options
    with torch.random.fork_rng(devices=[]):
        vectors = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            vectors.append(read_vector(task.build(options), task.tensors(options)))
            if not torch.equal(before, torch.get_rng_state()):
                raise Broken(
                    "build() draws from torch's own generator; draw from "
                    "torch.Generator().manual_seed(NUMBER), so that all machines start alike"
                )
    if vectors[0].tobytes() != vectors[1].tobytes():
        raise Broken("build() gives other weights each time; start all machines from the same ones")
    if not np.isfinite(vectors[0]).all():
        raise Broken("build() gives weights that are not finite")


def has_a_gradient_of_one_record_alone(subject: Subject, _folder: Path) -> None:
    module, (inputs, targets) = subject.moved(), subject.drawn()
    alone = gradient(subject, module, (one(inputs, PLACE), one(targets, PLACE)), 0)
    if not torch.linalg.norm(alone) > 0:
        raise Broken(
            "the gradient of a made-up record is zero or no number; nothing could be learned"
        )
    for places in COMPANIES if subject.one_shape else ():
        company = taken(inputs, places), taken(targets, places)
        together = gradient(subject, module, company, places.index(PLACE))
        if not torch.linalg.norm(together - alone) <= TOLERANCE * torch.linalg.norm(alone):
            raise Broken(
                f"a record's gradient depends on the {len(places)} records of its batch: the model or the "
                "loss mixes them, as BatchNorm or a mean over the batch does; compute each record alone"
            )


def stands_a_record_of_nans(subject: Subject, _folder: Path) -> None:
    task, options = subject.task, subject.options
    module, (inputs, targets) = subject.moved().eval(), subject.drawn()
    bad = spoiled(inputs, PLACE)
    with torch.inference_mode():
        clean, found = (task.criterion("none")(module(each), targets)[OTHERS] for each in (inputs, bad))  # fmt: skip
        outputs = module(bad)
        if not torch.allclose(clean, found, rtol=TOLERANCE):
            raise Broken("a record of NaN spoils the losses of others; compute each record alone")
        whole = tallied(task, outputs, targets, options)
        single = tallied(task, one(outputs, PLACE), one(targets, PLACE), options)
        rest = tallied(task, taken(outputs, OTHERS), taken(targets, OTHERS), options)
    if not (whole == single + rest).all():
        raise Broken("a record of NaN spoils the counts of others in tallies()")


def stands_an_empty_batch(subject: Subject, folder: Path) -> None:
    task, options = subject.task, subject.options
    module = subject.moved()
    inputs, targets = _none_of(subject, folder)
    outputs = module(inputs)
    losses = task.criterion("none")(outputs, targets)
    if losses.shape != (0,):
        raise Broken(f"an empty batch has losses of shape {tuple(losses.shape)}, not (0,)")
    losses.sum().backward()
    if any(p.grad is not None and p.grad.any() for p in module.parameters()):
        raise Broken("an empty batch has a gradient; it must have none")
    with torch.no_grad():
        empty = task.tallies(module(inputs), targets, options)
    if empty.count or len(empty.rows):
        raise Broken(f"tallies() of an empty batch is of {empty.count} records, not of none")


def _none_of(subject: Subject, folder: Path) -> tuple[Batch, Batch]:
    """No records at all, of the real form where it is known."""
    if subject.write is not None:
        return subject.load(folder / "none").take(np.arange(0))
    inputs, targets = subject.drawn(1)
    return taken(inputs, []), taken(targets, [])


def remembers_nothing(subject: Subject, _folder: Path) -> None:
    module, (inputs, targets) = subject.moved().train(), subject.drawn()
    first, others = one(inputs, 0), taken(inputs, list(range(1, COUNT)))
    before = {name: value.clone() for name, value in module.named_buffers()}
    with torch.no_grad():
        alone, rest, again = module(first), module(others), module(first)
        backwards = taken(module(taken(inputs, list(range(COUNT))[::-1])), list(range(COUNT))[::-1])
    if not alike(alone, again):
        raise Broken(
            "the same record gives another output after others went through the model: keep no state "
            "between records, and draw nothing at random in forward()"
        )
    if not alike(joined(alone, rest), backwards, relative=1e-4, absolute=1e-5):
        raise Broken("a record's output depends on the order or the company of the records")
    subject.task.criterion("none")(module(inputs), targets).sum().backward()
    for name, value in module.named_buffers():
        if not torch.equal(before[name], value):
            raise Broken(
                f"training changes the buffer {name}, which is never sent; make it a constant"
            )


def reduces_its_loss(subject: Subject, _folder: Path) -> None:
    task, (inputs, targets) = subject.task, subject.drawn()
    with torch.no_grad():
        outputs = subject.moved()(inputs)
    each = task.criterion("none")(outputs, targets)
    reduction = getattr(task.criterion("none"), "reduction", None)
    if reduction != "none":
        raise Broken(f'the criterion says reduction {reduction!r} where "none" was asked for')
    if each.shape != (size(inputs),):
        raise Broken(f"the loss has shape {tuple(each.shape)}, not one value per record ({COUNT},)")
    if not torch.isfinite(each).all():
        raise Broken("the loss of a made-up record is not finite")
    for name, wanted in (("mean", each.mean()), ("sum", each.sum())):
        found = task.criterion(name)(outputs, targets)  # type: ignore[arg-type]  # one of the reductions
        if found.shape != () or not math.isclose(float(found), float(wanted), rel_tol=1e-4):
            raise Broken(f'criterion("{name}") is not the {name} of criterion("none")')
