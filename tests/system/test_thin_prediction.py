"""The extra `infer` alone: small, without torch, and able to predict. Downloads about 60 MB, so not in CI."""

import json
import shutil
import time
import venv

import pytest
from models_bench import VECTORS, pictures
from PIL import Image
from wheel_bench import QUIET, ROOT, build, call

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

MOST_MB = 300
ABSENT = ("torch", "torchvision", "flwr", "opacus", "onnxscript", "safetensors", "starlette", "sqlalchemy")  # fmt: skip


@pytest.fixture(scope="module")
def infer(tmp_path_factory):
    """A clean environment with edgeveil[infer]; its folder of commands."""
    folder = tmp_path_factory.mktemp("infer")
    wheel = build(tmp_path_factory.mktemp("wheel"), "--wheel")
    venv.create(folder, with_pip=True)
    call(folder / "bin/python", *QUIET, "--constraint", ROOT / "constraints.txt", f"{wheel}[infer]", cwd=folder)  # fmt: skip
    return folder / "bin"


def test_nothing_that_trains_is_installed(infer, tmp_path):
    code = f"import importlib.util as u; print([n for n in {ABSENT!r} if u.find_spec(n)])"
    assert call(infer / "python", "-c", code, cwd=tmp_path).stdout == "[]\n"


def test_the_environment_is_small(infer, record_property):
    (packages,) = infer.parent.glob("lib/python*/site-packages")
    shutil.rmtree(packages / "pip", ignore_errors=True)
    size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    record_property("installed_mb", round(size / 1e6))
    assert size <= MOST_MB * 1e6


def test_it_predicts_and_evaluates_and_says_how_long_a_cold_start_takes(
    infer, tmp_path, record_property
):
    for label, raw in zip(("apple", "pear", "plum"), pictures(3, 8, 8), strict=True):
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.fromarray(raw).save(tmp_path / "data" / label / "1.png")
    model, home = VECTORS / "cnn.evm", ("--home", tmp_path / "home")
    times = []
    for _ in range(3):
        began = time.perf_counter()
        out = call(infer / "agent", "predict", model, "data", "--json", *home, cwd=tmp_path).stdout
        times.append(time.perf_counter() - began)
    record_property("cold_start_s", [round(each, 2) for each in times])
    assert [json.loads(line)["input"] for line in out.splitlines()] == [f"data/{label}/1.png" for label in ("apple", "pear", "plum")]  # fmt: skip
    found = call(infer / "agent", "evaluate", model, "--data", "data", "--json", *home, cwd=tmp_path)  # fmt: skip
    assert json.loads(found.stdout)["records"] == 3
    assert not (tmp_path / "home").exists()


def test_it_is_timed_and_made_smaller(infer, tmp_path):
    for at, raw in enumerate(pictures(6, 8, 8)):
        label = ("apple", "pear", "plum")[at % 3]
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(raw).save(tmp_path / "data" / label / f"{at}.png")
    model, home = VECTORS / "cnn.evm", ("--home", tmp_path / "home")
    found = call(infer / "agent", "bench", model, "--seconds", "0.2", "--json", *home, cwd=tmp_path)
    assert json.loads(found.stdout)["providers"]["CPUExecutionProvider"]["p50_ms"] > 0
    asked = (
        "--data",
        "data",
        "--tolerance",
        "100",
        "--seconds",
        "0.2",
        "-o",
        "small.evm",
        "--json",
    )
    found = call(infer / "agent", "optimize", model, *asked, *home, cwd=tmp_path)
    assert json.loads(found.stdout)["kept"] == "int8 dynamic"
    found = call(infer / "agent", "predict", "small.evm", "data", "--json", *home, cwd=tmp_path)
    assert len(found.stdout.splitlines()) == 6


def test_what_needs_more_names_the_extra(infer, tmp_path):
    home = ("--home", tmp_path / "home")
    assert "edgeveil[train]" in call(infer / "agent", "run", *home, cwd=tmp_path, code=69).stderr
