"""docs/models.md: the three ways to use a model give one answer, and figures are those of the code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from models_bench import VECTORS, pictures
from PIL import Image

from edgeveil.coordinator.models.graph import OPSET, TOLERANCE
from edgeveil.shared.models import package
from edgeveil.shared.models.manifest import SCHEMA

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


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
