"""Files for phones and boards: each is run here and gives what the package gives, or is not written."""

import importlib.util
import json

import numpy as np
import pytest
from look_bench import run
from models_bench import VECTORS, trained

from edgeveil.coordinator.models import mobile
from edgeveil.coordinator.models.export import export
from edgeveil.shared.base.errors import ConfigError, ModelError, NotInstalled, StateDamaged
from edgeveil.shared.models.package import read_package

COLUMNS = "heat [K] 250..350, load -1..1"
CASES = {
    "pictures": ("image-classification", {"classes": 3, "height": 8, "width": 8}),
    "rows": ("tabular", {"columns": COLUMNS, "labels": "well,worn", "variant": "mlp"}),
    "odd": ("anomaly", {"columns": COLUMNS, "hidden": 8}),
    "boxes": ("detection", {"labels": "car,bus", "variant": "tiny", "size": 64}),
    "numbers": ("tabular-regression", {"columns": COLUMNS, "target": "power [W] 0..500"}),
}
KITS = {
    "executorch": (".pte", "executorch", "mobile"),
    "litert": (".tflite", "litert_torch", "litert"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    known = {}

    def of(case):
        if case not in known:
            task, options = CASES[case]
            folder = tmp_path_factory.mktemp(case)
            home, run_id = trained(folder, task, scale=0.3, **options)
            export(home, run_id, "last", folder / "a.evm")
            known[case] = home, folder / "a.evm"
        return known[case]

    return of


@pytest.mark.parametrize("kind", KITS)
@pytest.mark.parametrize("case", CASES)
def test_a_converted_model_gives_what_the_package_gives(made, tmp_path, case, kind):
    suffix, library, extra = KITS[kind]
    if not importlib.util.find_spec(library):
        pytest.skip(f"edgeveil[{extra}] is not installed")
    home, file = made(case)
    target = tmp_path / f"a{suffix}"
    told = json.loads(run(home, "model", "mobile", file, "--format", kind, "-o", target, "--json").stdout)  # fmt: skip
    assert told["bytes"] == target.stat().st_size
    assert told["away"] <= mobile.TOLERANCE


@pytest.fixture
def other(monkeypatch):
    """A toolkit whose file is the record, and whose answer is what a test sets."""

    def set_to(answer):
        kit = mobile._Toolkit(".pte", "a toolkit", "mobile", lambda _module, record: bytes(record.numpy().tobytes()), answer)  # fmt: skip
        monkeypatch.setitem(mobile._TOOLKITS, "executorch", kit)

    return set_to


def test_one_that_computes_something_else_is_not_written(made, other, tmp_path):
    home, file = made("rows")
    for answer in (lambda _data, _record: np.zeros((1, 2)), lambda _data, _record: np.full((1, 2), np.nan)):  # fmt: skip
        other(answer)
        with pytest.raises(StateDamaged, match="nothing was written"):
            mobile.convert(home, file, "executorch", tmp_path / "a.pte", None)
    assert not list(tmp_path.iterdir())


def test_what_is_missing_or_written_wrong_is_one_sentence(made, monkeypatch, tmp_path):
    home, file = made("rows")
    monkeypatch.setattr(mobile, "import_module", _missing)
    with pytest.raises(NotInstalled, match=r"edgeveil\[mobile\]"):
        mobile.convert(home, file, "executorch", tmp_path / "a.pte", None)
    with pytest.raises(NotInstalled, match=r"edgeveil\[litert\]"):
        mobile.convert(home, file, "litert", tmp_path / "a.tflite", None)
    with pytest.raises(ConfigError, match=r"ends with \.pte"):
        mobile.convert(home, file, "executorch", tmp_path / "a.tflite", None)
    with pytest.raises(ConfigError, match="write executorch or litert"):
        mobile.convert(home, file, "coreml", tmp_path / "a.mlmodel", None)


def _missing(name):
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_package_of_another_version_of_its_task_is_not_converted(tmp_path):
    file = VECTORS / "cnn.evm"
    signer = read_package(file).signer.hex()
    with pytest.raises(ModelError, match=r"is not installed here.*convert it with the edgeveil"):
        mobile.convert(tmp_path, file, "executorch", tmp_path / "a.pte", signer)
