"""Records: of one form, each prepared by itself, options that are closed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.data import kinds, probe
from edgeveil.shared.data.boxes.schema import BoxSchema
from edgeveil.shared.data.schema import IMAGES
from edgeveil.shared.tasks.batches import form, size
from edgeveil.shared.tasks.conformance.subject import COUNT, OTHERS, PLACE, Broken, Subject, alike


def makes_records_up(subject: Subject, folder: Path) -> None:
    task, options = subject.task, subject.options
    drawn, again = (task.probe(3, torch.Generator().manual_seed(1), options) for _ in range(2))
    if size(drawn) != 3 or size(drawn[0]) != 3:
        raise Broken(f"probe(3) gives {size(drawn)} records")
    if not alike(drawn, again):
        raise Broken("probe() gives other records for the same generator; draw from it alone")
    if subject.write is None:
        return
    records = subject.load(folder / "formed")
    for taken in (np.arange(len(records)), np.arange(0)):
        found = form(records.take(taken))
        if found != form(drawn):
            raise Broken(f"{len(taken)} records of load() have the form {found}, those of probe() {form(drawn)}")  # fmt: skip


def prepares_each_record_by_itself(subject: Subject, folder: Path) -> None:
    records = subject.load(folder / "all")
    if len(records) != COUNT:
        raise Broken(f"load() gives {len(records)} of {COUNT} records; none of them is broken")
    less = subject.load(folder / "less", leave=PLACE)
    if len(less) != COUNT - 1:
        raise Broken(f"load() gives {len(less)} of {COUNT - 1} records")
    if not alike(records.take(np.array(OTHERS)), less.take(np.arange(COUNT - 1))):
        raise Broken(
            "without one record, load() gives the others with other values: a mean, a range or a count of "
            "all records was used, which would leak; scale by public constants alone"
        )


def takes_what_it_asks_for(subject: Subject, folder: Path) -> None:
    if subject.write is None:
        raise Broken("records of this kind cannot be made up here")
    task, options = subject.task, subject.options
    path = subject.write(folder / "own", COUNT, None)
    probe.probe(path)
    asked, own = task.schema(options), kinds.infer(path)
    if own.kind == asked.kind == IMAGES and own.shape == asked.shape:
        own = asked  # an archive names no classes; its owner does, in policy.toml
    if isinstance(own, BoxSchema) and isinstance(asked, BoxSchema):
        own = replace(own, side=asked.side)  # the owner's choice as well
    if not own.fits(asked):
        raise Broken(f"schema() asks for {asked}; such records were read as {own}")
    prepared = task.prepare(own.read(path), own.labels, options)
    loaded = task.load(path, options)
    if not alike(prepared.take(np.arange(COUNT)), loaded.take(np.arange(COUNT))):
        raise Broken("prepare() gives other values than load() for the same records")


def has_closed_options(subject: Subject, _folder: Path) -> None:
    known = subject.options.model_dump()
    for wrong in ({"variant": "no-such-variant"}, {"no_such_option": 3}, {"variant": 1}):
        try:
            subject.task.parse_options({**known, **wrong})
        except ConfigError as error:
            if subject.task.spec.id not in error.message or "options" not in error.message:
                raise Broken(f"parse_options() refuses without naming task and options: {error}") from error  # fmt: skip
        else:
            raise Broken(
                f"parse_options() takes {wrong}; refuse what is unknown with a ConfigError"
            )
