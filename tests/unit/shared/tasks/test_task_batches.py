"""Batches are cut and joined alike, whether they are tensors, lists of unequal things, or tuples of both."""

import pytest
import torch

from edgeveil.shared.tasks import batches


def made(count, offset=0):
    rows = range(offset, offset + count)
    return {
        "tensor": torch.tensor([[float(k), -float(k)] for k in rows]).reshape(count, 2),
        "list": [torch.full((k + 1,), float(k)) for k in rows],
        "tuple": (torch.arange(count) + offset, (list(rows), torch.arange(count) + offset)),
    }  # fmt: skip


def numbers(batch):
    """The number of each record, from every part."""
    if isinstance(batch, tuple):
        parts = [numbers(part) for part in batch]
        assert all(part == parts[0] for part in parts)
        return parts[0]
    return [int(torch.as_tensor(record).flatten()[0]) for record in batch]


@pytest.mark.parametrize("kind", ["tensor", "list", "tuple"])
def test_records_keep_their_place_in_all_parts(kind):
    batch, other = made(5)[kind], made(3, 5)[kind]
    assert batches.size(batch) == 5
    assert numbers(batches.one(batch, 3)) == [3]
    assert numbers(batches.taken(batch, [4, 0, 4])) == [4, 0, 4]
    assert numbers(batches.taken(batch, [])) == []
    assert numbers(batches.joined(batch, other)) == list(range(8))
    changed = batches.replaced(batch, 1, batches.one(other, 2))
    assert (numbers(changed), numbers(batch)) == ([0, 7, 2, 3, 4], [0, 1, 2, 3, 4])


@pytest.mark.parametrize("kind", ["tensor", "list", "tuple"])
def test_the_form_says_what_a_batch_is_made_of_and_not_how_many_it_holds(kind):
    forms = {batches.form(made(count)[kind]) for count in (0, 1, 5)}
    assert len(forms) == 1
    assert forms.isdisjoint(
        batches.form(made(2)[other]) for other in {"tensor", "list", "tuple"} - {kind}
    )


def test_only_tensors_and_tuples_of_them_can_go_through_a_model_together():
    assert batches.stacked(made(2)["tensor"])
    assert batches.stacked((made(2)["tensor"], made(2)["tensor"]))
    assert not batches.stacked(made(2)["list"])
    assert not batches.stacked(made(2)["tuple"])
    assert batches.values(([torch.zeros(3), torch.zeros(2, 2)], torch.zeros(2))) == 9
