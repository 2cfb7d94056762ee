"""docs/why.md: each script, test and file that it names is there, and each cell of the README's comparison has a source."""

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "why.md"
WHY = PAGE.read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PEERS = ("flwr", "openfl")  # those installed here; the others' wheels were read


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def compared():
    """The cells of each numbered row of the README's comparison."""
    return [cells(line)[1:] for line in README.splitlines() if re.match(r"\| \d+\. ", line)]


def sources():
    return [cells(line)[1:] for line in WHY.splitlines() if re.match(r"\| \d+ \|", line)]


def test_the_page_names_every_script_and_no_other():
    scripts = {path.name for path in (ROOT / "scripts/evidence").glob("*.py")}
    assert set(re.findall(r"^python scripts/evidence/(\w+\.py)$", WHY, re.MULTILINE)) == scripts
    assert set(re.findall(r"`(\w+\.py)`", WHY)) == scripts


def test_every_test_it_names_exists():
    named = re.findall(r"`([a-z_/0-9]+\.py)::(test_\w+)`", WHY)
    assert len(named) > 10
    for file, name in named:
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert name in {n.name for n in ast.walk(tree) if isinstance(n, functions)}, file


def test_the_comparison_has_ten_rows_and_a_source_for_every_cell():
    assert len(compared()) == len(sources()) == 10
    for said, source in zip(compared(), sources(), strict=True):
        assert len(said) == len(source) == 5
        assert all(said), said
        assert all(re.search(r"`.+`|\(.+\)|^not checked$", cell) for cell in source), source


def test_what_was_not_checked_or_not_found_is_called_so_on_both_pages():
    for said, source in zip(compared(), sources(), strict=True):
        for cell, where in zip(said, source, strict=True):
            for word in ("not checked", "none found"):
                assert (cell == word) == where.startswith(word), (cell, where)


@pytest.mark.parametrize("peer", PEERS)
def test_every_file_it_cites_of_an_installed_peer_is_in_its_wheel(peer):
    try:
        installed = importlib.metadata.distribution(peer)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{peer} is not installed")
    assert f"{installed.version}," in WHY, installed.version
    cited = re.findall(rf"`({peer}[\w-]*/[\w/-]+\.\w+)`", WHY)
    assert len(cited) > 4
    for path in cited:
        assert Path(str(installed.locate_file(path))).is_file(), path
