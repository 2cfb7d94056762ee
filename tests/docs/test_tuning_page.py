"""The page of tuning: its commands and its space work as they are printed."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
from public_data_bench import mnist_5000, stratified_order
from typer.testing import CliRunner

from edgeveil.coordinator.cli.app import app
from edgeveil.coordinator.tuning.space import SERVER, TRAINING

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tuning.md").read_text()


def test_the_command_and_the_space_of_the_page_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEVEIL_HOME", str(tmp_path / "home"))
    (space,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "space.toml").write_text(space)
    shutil.copy(ROOT / "deploy/samples/plan-basic.toml", "plan.toml")
    digits = mnist_5000()
    some = digits.take(stratified_order(digits.labels, 2)[:500])
    (tmp_path / "digits").mkdir()
    np.savez(tmp_path / "digits/test.npz", X=some.pixels, y=some.labels)
    (line,) = re.findall(r"^coordinator (tune .*)$", PAGE, re.MULTILINE)
    found = CliRunner().invoke(app, [*shlex.split(line.replace("--trials 20", "--trials 2"))])
    assert found.exit_code == 0, found.output
    assert "with" in found.stdout
    assert (tmp_path / "home/tuning/plan/tune.html").is_file()
    assert "up to ε 8" in found.output


def test_the_page_names_every_key_that_can_be_tried():
    rows = dict(re.findall(r"^\| `(training|server)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", rows["training"])) == set(TRAINING)
    assert {"robust", "trim"}.isdisjoint(SERVER)
