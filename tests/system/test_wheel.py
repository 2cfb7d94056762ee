"""The wheel: the same bytes twice, whole from an archive of the sources, at home beside foreign packages.

The environment has the base dependencies only, so that --help, budget and the sentence about a missing
extra are tried as a thin device would meet them; commands run in an empty folder, not in the checkout.
"""

import base64
import hashlib
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest
from wheel_bench import QUIET, ROOT, build, call

pytestmark = pytest.mark.timeout(600)

FOREIGN = ("agent", "coordinator", "shared")  # distributions of the public index, by top-level name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(tmp_path_factory.mktemp("wheel"), "--wheel")


@pytest.fixture(scope="module")
def thin(tmp_path_factory, wheel):
    """A clean environment with the wheel and its base dependencies; its folder of commands."""
    folder = tmp_path_factory.mktemp("thin")
    venv.create(folder, with_pip=True)
    call(folder / "bin/python", *QUIET, "--constraint", ROOT / "constraints.txt", wheel, cwd=folder)
    return folder / "bin"


def foreign_wheel(folder, name):
    """A distribution with a top-level package `name`, which nobody should ever import for ours."""
    content = {
        f"{name}/__init__.py": f"raise RuntimeError('the foreign package {name} was imported')\n",
        f"foreign_{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: foreign-{name}\nVersion: 1.0\n",
        f"foreign_{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }  # fmt: skip
    record = f"foreign_{name}-1.0.dist-info/RECORD"
    rows = []
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        rows.append(f"{path},sha256={digest.decode()},{len(text)}\n")
    made = folder / f"foreign_{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in (content | {record: "".join([*rows, f"{record},,\n"])}).items():
            archive.writestr(path, text)
    return made


def both_commands_work(bin_, folder):
    for role in ("coordinator", "agent"):
        assert "Usage:" in call(bin_ / role, "--help", cwd=folder).stdout
    home = ("--home", folder / "home")
    nobody = call(bin_ / "agent", "budget", *home, cwd=folder, code=77)
    assert "no agent lives here" in nobody.stderr
    assert "edgeveil[train]" in call(bin_ / "agent", "doctor", *home, cwd=folder, code=69).stdout
    for extra, role, *arguments in (
        ("train", "agent", "run"),
        ("infer", "agent", "predict", ROOT / "tests/vectors/models/cnn.evm", "photo.png"),
        ("serve", "coordinator", "init", "--url", "https://a:1", "--no-passphrase"),
        ("serve", "coordinator", "status"),
        ("serve", "coordinator", "rounds"),
    ):
        missing = call(bin_ / role, *arguments, *home, cwd=folder, code=69)
        assert f'pip install "edgeveil[{extra}]"' in missing.stderr
        assert "Traceback" not in missing.stderr


def test_two_builds_of_the_same_commit_give_the_same_bytes(wheel, tmp_path):
    assert wheel.read_bytes() == build(tmp_path, "--wheel").read_bytes()


def test_the_wheel_brings_one_name_and_every_file_of_the_packages(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"edgeveil", "-".join(wheel.name.split("-")[:2]) + ".dist-info"}  # fmt: skip
    tracked = subprocess.run(["git", "ls-files", *FOREIGN], cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    assert {f"edgeveil/{path}" for path in tracked.stdout.splitlines()} <= names


def test_a_wheel_made_from_the_archive_of_sources_is_the_same(wheel, tmp_path):
    archive = build(tmp_path / "sdist", "--sdist")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "out", source, cwd=tmp_path)  # fmt: skip
    (again,) = (tmp_path / "out").glob("*.whl")
    code = [
        {info.filename: info.CRC for info in zipfile.ZipFile(each).infolist() if info.filename.startswith("edgeveil/")}
        for each in (wheel, again)
    ]  # fmt: skip
    assert code[0] == code[1]


def test_the_thin_install_answers_and_names_the_extra_it_lacks(thin, tmp_path):
    both_commands_work(thin, tmp_path)


@pytest.mark.parametrize("ours_first", [False, True])
def test_foreign_packages_of_the_old_names_disturb_nothing(thin, wheel, tmp_path, ours_first):
    strangers = [foreign_wheel(tmp_path, name) for name in FOREIGN]
    ours = [*QUIET, "--no-deps", "--force-reinstall", wheel]
    theirs = [*QUIET, "--no-deps", "--force-reinstall", *strangers]
    call(thin / "python", "-m", "pip", "uninstall", "-q", "-y", "edgeveil", *(f"foreign-{name}" for name in FOREIGN), cwd=tmp_path)  # fmt: skip
    for order in (ours, theirs) if ours_first else (theirs, ours):
        call(thin / "python", *order, cwd=tmp_path)
    both_commands_work(thin, tmp_path)
    for name in FOREIGN:
        found = call(thin / "python", "-c", f"import {name}", cwd=tmp_path, code=1)
        assert "the foreign package" in found.stderr, "and both are there"
