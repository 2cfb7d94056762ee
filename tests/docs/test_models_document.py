"""docs/models.md: the three ways to use a model give one answer, and figures are those of the code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from models_bench import VECTORS, pictures, trained
from PIL import Image

from edgeveil.agent.inference.runtime import open_model
from edgeveil.coordinator.models.export import export
from edgeveil.coordinator.models.graph import OPSET, TOLERANCE
from edgeveil.shared.models import package
from edgeveil.shared.models.manifest import SCHEMA

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
ALL = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
BLOCKS, OF_VALUES = ALL[:3], ALL[3:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    shutil.copy(VECTORS / "cnn.evm", made / "bag.evm")
    Image.fromarray(pictures(1, 8, 8)[0]).resize((64, 48)).save(made / "photo.jpg", quality=95)
    return made


def test_the_three_ways_to_use_a_model_give_one_answer(folder):
    assert len(BLOCKS) == 3
    answers = {
        subprocess.run([sys.executable, "-W", "ignore", "-c", block], cwd=folder, env=os.environ, capture_output=True, text=True, check=True).stdout
        for block in BLOCKS
    }  # fmt: skip
    assert len(answers) == 1
    assert answers < {"apple\n", "pear\n", "plum\n"}


@pytest.mark.parametrize(
    ("task", "options", "blocks"),
    [
        ("tabular-regression", {"target": "power [W] 0..500", "variant": "mlp"}, (0, 1)),
        ("anomaly", {"latent": 3, "hidden": 8}, (0, 2)),
    ],
)
def test_numbers_and_odd_records_are_the_same_with_and_without_the_product(tmp_path, task, options, blocks):  # fmt: skip
    columns = "heat [K] 250..350, load -1..1, flow [l/s] 0..20"
    home, run = trained(tmp_path, task, scale=0.3, columns=columns, **options)
    export(home, run, "last", tmp_path / "pump.evm")
    (found,) = open_model(tmp_path / "pump.evm").predict(np.array([300.0, 0.5, 4.0]))
    value = found.as_json().get("value", found.as_json().get("score"))
    assert len(OF_VALUES) == 3
    for at in blocks:
        said = subprocess.run([sys.executable, "-W", "ignore", "-c", OF_VALUES[at]], cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True).stdout  # fmt: skip
        assert float(said) == pytest.approx(value, rel=1e-3)
        assert "edgeveil" not in OF_VALUES[at]


def test_only_the_first_way_needs_this_product():
    assert ["edgeveil" in block for block in BLOCKS] == [True, False, False]
    assert "torch" not in BLOCKS[0] + BLOCKS[1]


def test_the_figures_are_those_of_the_code():
    assert f"at most {TOLERANCE:.0e}".replace("e-0", "e-") in TEXT.replace("\n", " ")
    assert f"operator set {OPSET}" in TEXT
    assert f"version {SCHEMA} of" in TEXT
    assert f"at most {round(package.MOST_BYTES / 1e6)} MB" in TEXT
    for name in package.NAMES:
        assert f"| `{name}` |" in TEXT
