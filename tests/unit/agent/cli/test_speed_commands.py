"""`agent bench` and `agent optimize` as a device without torch runs them."""

import json
import subprocess
import sys

import pytest
import typer.testing
from models_bench import VECTORS, pictures
from PIL import Image

from edgeveil.agent.cli.app import app
from edgeveil.agent.cli.doctor import _model
from edgeveil.agent.delivery.kept import KeptModels
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.doctor.checks import Level

MODEL = str(VECTORS / "cnn.evm")
BLOCKED = ("flwr", "onnxscript", "opacus", "safetensors", "torch", "torch_pruning", "torchvision")
THIN = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
from edgeveil.agent.cli.app import main
main()
"""


@pytest.fixture
def data(tmp_path):
    for at, raw in enumerate(pictures(6, 8, 8)):
        label = ("apple", "pear", "plum")[at % 3]
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(raw).save(tmp_path / "data" / label / f"{at}.png")
    return str(tmp_path / "data")


def thin(*arguments):
    """(exit code, standard output, standard error) of a process in which nothing that trains can be imported."""
    command = [sys.executable, "-c", THIN, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    return done.returncode, done.stdout, done.stderr


def test_a_thin_device_makes_a_smaller_model_and_uses_it(data, tmp_path):
    home = ("--home", str(tmp_path / "home"))
    asked = (
        "--data",
        data,
        "--static",
        "--sparse",
        "0.5",
        "--tolerance",
        "100",
        "--seconds",
        "0.1",
    )
    small, page = tmp_path / "small.evm", tmp_path / "report.html"
    code, out, said = thin("optimize", MODEL, *asked, "--use", "-o", str(small), "--html", str(page), "--json", *home)  # fmt: skip
    assert code == 0, said
    found = json.loads(out)
    assert found["kept"] in [each["variant"] for each in found["tried"] if each["accepted"]]
    assert [each["variant"] for each in found["tried"]] == ["int8 dynamic", "int8 static", "50% sparse", "50% sparse, int8 dynamic", "50% sparse, int8 static"]  # fmt: skip
    assert "in use now" in said
    assert "<svg" in page.read_text()
    models = KeptModels(tmp_path / "home")
    assert models.in_use().made.startswith(f"{found['kept']}, made here")
    code, out, said = thin("predict", str(small), data, "--json", *home)
    assert (code, len(out.splitlines())) == (0, 6), said
    (finding,) = _model(tmp_path / "home")
    assert finding.level is Level.GREEN
    assert "passes its self-test; loads in" in finding.text
    code, out, said = thin("bench", "--seconds", "0.1", "--fps", "1", *home)
    assert code == 0, said
    assert "1 frames a second with" in out
    code, _, said = thin("optimize", MODEL, "--data", data, "--prune", "0.5", *home)
    assert code == 69
    assert "edgeveil[prune]" in said


def test_what_would_learn_is_refused_with_the_reason(data, tmp_path):
    asked = ["optimize", MODEL, "--data", data, "--distill", "--home", str(tmp_path / "home")]
    refused = typer.testing.CliRunner().invoke(app, asked).exception
    assert isinstance(refused, ConfigError)
    assert "charged by its ledger" in str(refused)
    assert not (tmp_path / "home").exists()


def test_no_variant_is_made_that_nobody_can_judge(tmp_path):
    asked = ["optimize", MODEL, "--home", str(tmp_path / "home")]
    refused = typer.testing.CliRunner().invoke(app, asked).exception
    assert isinstance(refused, ConfigError)
    assert "--data" in str(refused)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--html", "nodir/x.html"], "nodir/x.html: cannot be written, there is no folder nodir"),
        (["-o", "."], "it is a folder"),
        (["--no-dynamic"], "tries nothing; add --static"),
    ],
)
def test_what_can_give_nothing_is_refused_before_anything_is_measured(data, tmp_path, asked, told):
    whole = ["optimize", MODEL, "--data", data, "--home", str(tmp_path / "home"), *asked]
    done = typer.testing.CliRunner().invoke(app, whole)
    assert isinstance(done.exception, ConfigError)
    assert told in str(done.exception)
    assert "measuring" not in done.output
    assert not (tmp_path / "home").exists()
