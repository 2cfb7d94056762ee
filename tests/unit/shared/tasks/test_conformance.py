"""What every task of the catalogue holds to, in every variant (docs/extending.md, "A task")."""

import typing

import numpy as np
import pytest
import torch
from conforming_bench import CASES

from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.conformance.suite import CHECKS
from edgeveil.shared.tasks.modules import read_vector
from edgeveil.shared.tasks.spec import tallied
from edgeveil.shared.vector.model_vector import count

EACH = pytest.mark.parametrize("case", CASES, ids=str)


def test_every_variant_of_every_task_is_tried_here():
    for entry in registry.catalogue():
        tried = {case.variant for case in CASES if case.task == entry.id}
        parse = registry.load(entry).parse_options
        hints = typing.get_type_hints(parse)["return"].model_fields["variant"].annotation
        assert tried == set(typing.get_args(hints)), entry.id


@EACH
@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_it_keeps_every_promise_of_a_task(case, check, tmp_path):
    check.holds(case.subject(), tmp_path)


@EACH
def test_it_has_as_many_parameters_as_its_documents_say(case):
    task, options = case.made()
    assert count(task.tensors(options)) == case.size


@EACH
def test_it_shows_what_it_keeps_of_an_evaluation(case, tmp_path):
    task, options = case.made()
    inputs, targets = task.load(case.write(tmp_path / "d", 9), options).take(np.arange(9))
    with torch.no_grad():
        kept = task.keep(tallied(task, task.build(options)(inputs), targets, options), options)
    assert task.spec.scoring.views(kept)


@EACH
def test_it_has_no_buffers(case):
    task, options = case.made()
    assert not list(task.build(options).buffers())
    assert np.isfinite(read_vector(task.build(options), task.tensors(options))).all()
