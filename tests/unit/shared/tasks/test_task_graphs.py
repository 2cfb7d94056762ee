"""What a package computes of raw records is what the task computes, to rounding."""

import numpy as np
import pytest
import torch

from edgeveil.shared.tasks import graphs, registry

CASES = (
    ("feature-head", {}),
    ("feature-head", {"channels": 3, "height": 32, "width": 24}),
    ("feature-head", {"features": "blocks"}),
    ("feature-head", {"features": "blocks", "channels": 3, "height": 40, "width": 64}),
    ("feature-head", {"features": "efficientnet-lite0", "channels": 3, "height": 96, "width": 96}),
    ("image-classification", {}),
    ("image-classification", {"channels": 3, "height": 12, "width": 16}),
    ("image-classification", {"variant": "linear"}),
    ("image-classification", {"variant": "linear", "channels": 3}),
)


def of(task_id, options):
    task = registry.load(registry.newest(task_id))
    parsed = task.parse_options(options)
    return task, parsed, graphs.PREPARATIONS[task_id](parsed)


def hard_pictures(height, width, channels):
    """8-bit pictures full of equal gradients, exact diagonals, flat parts and edges."""
    draw = np.random.default_rng(7)
    few = (
        draw.integers(0, 5, (40, height, width, channels)) * 3
    )  # 3-4-5 triangles among the gradients
    steps = np.add.outer(np.arange(height), np.arange(width))[..., None] * np.ones(channels)
    stripes = [np.where(steps % period < period // 2, 255, 0) for period in (2, 4, 6, 10)]
    slopes = [np.clip(sign * steps * 3 + 100, 0, 255) for sign in (1, -1)]
    mirrored = [each[:, ::-1] for each in (*stripes, *slopes)]
    raw = np.stack([*few, *stripes, *slopes, *mirrored]).astype(np.uint8)
    pixels = raw.astype(np.float32) / np.float32(255)
    return pixels[..., 0] if channels == 1 else pixels


@pytest.mark.parametrize(("task_id", "options"), CASES)
def test_prepared_by_the_graph_is_prepared_by_the_task(task_id, options):
    task, parsed, prepare = of(task_id, options)
    raw = hard_pictures(parsed.height, parsed.width, parsed.channels)
    wanted = task.inputs(raw, parsed)
    found = prepare(torch.from_numpy(raw)).numpy()
    assert found.shape == wanted.shape
    away = np.linalg.norm((found - wanted).reshape(len(raw), -1), axis=1)
    away /= np.linalg.norm(wanted.reshape(len(raw), -1), axis=1).max()
    assert away.max() <= 1e-4  # numpy's arctan2 may be a rounding away from the middle of a bin


@pytest.mark.parametrize(("task_id", "options"), CASES)
def test_every_task_of_the_catalogue_can_be_packaged(task_id, options):
    task, parsed, _ = of(task_id, options)
    found = graphs.packaged(task, parsed, task.build(parsed))
    assert found.picture == (parsed.height, parsed.width, parsed.channels)
    assert found.labels == task.schema(parsed).labels
    assert len(found.raw) == len(found.prepared) == graphs.EXAMPLES
    assert found.module(torch.from_numpy(found.raw)).shape == (graphs.EXAMPLES, len(found.labels))


def test_a_task_without_a_preparation_is_packaged_for_prepared_arrays():
    task, parsed, _ = of("feature-head", {})

    class Other:
        """The same under an id that nothing is known of."""

        spec = type("Spec", (), {"id": "other"})
        schema, signature, probe = task.schema, task.signature, task.probe

    found = graphs.packaged(Other, parsed, task.build(parsed))
    assert found.picture is None
    assert found.shape == (589,)
    assert np.array_equal(found.raw, found.prepared.numpy())


def test_a_task_that_does_not_choose_labels_says_why():
    task, parsed, _ = of("feature-head", {})

    class Other:
        spec, schema, probe = task.spec, task.schema, task.probe

        @staticmethod
        def signature(_options):
            return {"output": "heat map"}

    with pytest.raises(TypeError, match="label"):
        graphs.packaged(Other, parsed, task.build(parsed))
