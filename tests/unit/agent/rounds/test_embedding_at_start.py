"""The numbers of the frozen network: for every record, at the start, whatever any offer will say."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest
from catalogue_bench import task_and_options, write_png

from edgeveil.agent.home.config import ComputeConfig
from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy, TaskRule
from edgeveil.agent.home.records.feature_cache import FOLDER
from edgeveil.agent.home.records.record_policy import DataPolicy
from edgeveil.agent.rounds.embedding import Embedder, completion, wanted
from edgeveil.shared.base.errors import NotInstalled
from edgeveil.shared.tasks.backbone import asset, embedding

LABELS = ("cat", "dog")
OPTIONS = {"height": 96, "width": 96, "channels": 3, "classes": 2, "labels": "cat,dog"}
NAME = "efficientnet-lite0"
COLOURS = DataPolicy(height=96, width=96, channels=3, labels=LABELS)


def photos(folder, count=3):
    for number in range(count):
        for label in LABELS:
            write_png(folder / label / f"{number}.png", photo(label, number))
    return folder


def photo(label, number):
    random = np.random.default_rng([number, len(label), ord(label[0])])
    return random.integers(0, 256, (20, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """One start of a device with this policy: its shelf, filled, and how many pictures were looked at."""
    looked = []
    embed = embedding.embed

    def counting(pixels, device="cpu", step=lambda _: None):
        looked.append(len(pixels))
        return embed(pixels, device, step)

    monkeypatch.setattr(embedding, "embed", counting)
    said = []

    def once(policy=None):
        looked.clear()
        said.clear()
        home = AgentHome(tmp_path / "home")
        policy = Policy(data=COLOURS) if policy is None else policy
        watch = lambda _what, _total: contextlib.nullcontext(lambda _: None)  # noqa: E731
        complete = completion(home, policy, ComputeConfig(), said.append, watch)
        shelf = DataShelf(tmp_path / "photos", said.append, policy.data.as_schema())
        shelf.complete(complete)
        return shelf, sum(looked), said

    photos(tmp_path / "photos")
    return once


def kept(tmp_path):
    return sorted((tmp_path / "home" / FOLDER).glob("*.npy"))


def test_every_picture_is_looked_at_once_and_never_for_an_offer(start, tmp_path):
    shelf, looked, said = start()
    assert looked == 6
    assert any("6 pictures go through efficientnet-lite0" in sentence for sentence in said)
    task, options = task_and_options("feature-head", "fixed", features=NAME, **OPTIONS)
    records = shelf.load(task, options)
    again, looked_again, _ = start()
    assert looked_again == 0
    assert again.load(task, options).inputs.tobytes() == records.inputs.tobytes()
    _, plain = task_and_options("feature-head", "fixed", **OPTIONS)
    shelf.load(task, plain)
    assert start()[1] == 0
    direct = task.load(tmp_path / "photos", options)
    assert direct.inputs.tobytes() == records.inputs.tobytes()
    assert direct.targets.tolist() == records.targets.tolist()


def test_a_new_picture_is_looked_at_and_a_deleted_one_is_forgotten(start, tmp_path):
    start()
    (before,) = kept(tmp_path)
    size = before.stat().st_size
    (tmp_path / "photos/cat/0.png").unlink()
    assert start()[1] == 0
    (after,) = kept(tmp_path)
    assert size - after.stat().st_size == 32 + 4 * asset.NUMBERS
    write_png(tmp_path / "photos/dog/9.png", photo("dog", 9))
    assert start()[1] == 1


@pytest.mark.parametrize(
    "policy",
    [
        Policy(data=DataPolicy(height=28, width=28, channels=3, labels=LABELS)),
        Policy(data=DataPolicy(height=96, width=96, channels=1, labels=LABELS)),
        Policy(data=COLOURS, tasks=(TaskRule(id="image-classification", version="1.2.0"),)),
    ],
    ids=["small", "grey", "another task"],
)
def test_nothing_is_computed_or_kept_where_no_allowed_offer_could_use_it(policy, start, tmp_path):
    start()
    assert kept(tmp_path)
    assert not wanted(policy)
    assert start(policy)[1] == 0
    assert not kept(tmp_path)


def test_a_policy_that_names_the_task_is_enough(start):
    policy = Policy(data=COLOURS, tasks=(TaskRule(id="feature-head", version="1.2.0"),))
    assert start(policy)[1] == 6


def test_without_weights_a_device_starts_as_before_and_keeps_nothing(start, tmp_path, monkeypatch):
    start()
    asset.check_weights.cache_clear()
    monkeypatch.setattr(asset, "PACKAGE", "weights_that_nobody_has")
    shelf, looked, said = start()
    assert (looked, kept(tmp_path)) == (0, [])
    assert not any(NAME in sentence for sentence in said)
    task, options = task_and_options("feature-head", "fixed", **OPTIONS)
    assert len(shelf.load(task, options)) == 6
    with pytest.raises(NotInstalled):
        task.build(task.parse_options({"features": NAME, **OPTIONS}))
    asset.check_weights.cache_clear()


def test_a_cache_that_cannot_be_written_is_told_and_changes_nothing(start, tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / FOLDER).write_text("a file where the folder should be")
    shelf, looked, said = start()
    assert looked == 6
    assert any("not kept" in sentence for sentence in said)
    task, options = task_and_options("feature-head", "fixed", features=NAME, **OPTIONS)
    assert len(shelf.load(task, options)) == 6


def test_a_start_with_everything_kept_imports_no_torch(start, tmp_path):
    """A restarted agent is back on the line at once."""
    start()
    found = subprocess.run(
        [sys.executable, "-c", AGAIN, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == ["EmbeddedImages", "6", "False"], found.stderr


AGAIN = """
import sys
from pathlib import Path
from edgeveil.agent.home.config import ComputeConfig
from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy, TaskRule
from edgeveil.agent.home.records.record_policy import DataPolicy
from edgeveil.agent.rounds.embedding import completion
from edgeveil.shared.terminal.progress import progress
folder = Path(sys.argv[1])
data = DataPolicy(height=96, width=96, channels=3, labels=("cat", "dog"))
shelf = DataShelf(folder / "photos", schema=data.as_schema())
home, policy = AgentHome(folder / "home"), Policy(data=data)
shelf.complete(completion(home, policy, ComputeConfig(), print, progress))
print(type(shelf._look.records).__name__, len(shelf._look.records.embedded), "torch" in sys.modules)
"""


def test_equal_pictures_are_looked_at_once(start, tmp_path):
    write_png(tmp_path / "photos/dog/7.png", photo("cat", 0))
    shelf, looked, _ = start()
    assert looked == 6
    task, options = task_and_options("feature-head", "fixed", features=NAME, **OPTIONS)
    assert len(shelf.load(task, options)) == 7


def test_the_embedder_leaves_records_themselves_alone(start, tmp_path):
    found = COLOURS.as_schema().read(tmp_path / "photos")
    home = AgentHome(tmp_path / "home")
    watch = lambda _what, _total: contextlib.nullcontext(lambda _: None)  # noqa: E731
    given = Embedder(home, ComputeConfig(), lambda _: None, watch)(found)
    assert given.pixels is found.pixels
    assert given.targets is found.targets
    assert given.embedded.shape == (6, asset.NUMBERS)
