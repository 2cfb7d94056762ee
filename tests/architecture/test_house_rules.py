"""Rules of the house that import-linter cannot see (CONTRIBUTING.md)."""

import ast
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agent", "coordinator", "shared")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
CORE_STDLIB = {
    "abc", "collections", "collections.abc", "contextlib", "dataclasses", "enum", "functools", "hashlib",
    "hmac", "itertools", "math", "os", "secrets", "struct", "typing",
}  # fmt: skip
PUBLIC_FLWR = {"flwr.app", "flwr.clientapp", "flwr.serverapp"}
PRIVATE_FLWR = ("coordinator/flower_runtime/", "coordinator/simulation/", "agent/flower_link/")


def imports(path):
    """Every module a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def test_the_secagg_core_imports_only_a_named_few():
    for path in (ROOT / "shared/secagg").rglob("*.py"):
        for name in imports(path):
            allowed = (
                name in CORE_STDLIB
                or name.split(".")[0] in {"numpy", "cryptography"}
                or name.startswith("edgeveil.shared.secagg")
            )
            assert allowed, f"{path.name} imports {name}"


def test_only_the_adapters_know_private_flower():
    for path in SOURCES:
        relative = path.relative_to(ROOT).as_posix()
        for name in imports(path):
            if name.split(".")[0] == "flwr" and name not in PUBLIC_FLWR:
                assert relative.startswith(PRIVATE_FLWR), f"{relative} imports {name}"


@pytest.mark.parametrize(
    "module",
    ["edgeveil.coordinator.cli.app", "edgeveil.agent.ledger.guard", "edgeveil.agent.ledger.store", "edgeveil.agent.ledger.budget", "edgeveil.agent.rounds.run",
     "edgeveil.agent.reports.report", "edgeveil.agent.reports.report_page", "edgeveil.agent.reports.verify", "edgeveil.agent.ledger.budget_plan", "edgeveil.agent.cli.policy_commands", "edgeveil.agent.cli.doctor", "edgeveil.coordinator.reports.privacy.report",
     "edgeveil.coordinator.cli.operator", "edgeveil.coordinator.serving.admin_client", "edgeveil.coordinator.reports", "edgeveil.coordinator.cli.follow", "edgeveil.coordinator.reports.reading", "edgeveil.coordinator.cli.top",
     "edgeveil.coordinator.reports.page", "edgeveil.agent.reports.page", "edgeveil.agent.forwarding.consequences", "edgeveil.shared.privacy", "edgeveil.shared.tasks.registry"],
)  # fmt: skip
def test_light_modules_stay_light(module):
    code = (
        f"import {module}, sys, json;"
        "print(json.dumps([m for m in ('torch', 'opacus', 'flwr', 'alembic', 'PIL') if m in sys.modules]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []


def test_files_and_functions_stay_small():
    for path in SOURCES:
        text = path.read_text()
        assert text.count("\n") <= 500, f"{path}: over 500 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node, clean=False) or ""
                lines = node.end_lineno - node.lineno + 1 - docstring.count("\n")
                assert lines <= 60, f"{path}:{node.lineno}: {node.name} has {lines} lines"


def test_there_are_no_markers_of_unfinished_work():
    words = ("TO" + "DO", "FIX" + "ME", "X" + "XX", "raise NotImplemented" + "Error")
    for path in SOURCES:
        for word in words:
            assert word not in path.read_text(), f"{path} has {word}"


def test_only_a_tasks_own_modules_know_what_it_measures():
    """Else a new task would need changes in reports, charts, exports and judgement (docs/design.md, "Tasks")."""
    words = ("accuracy", "macro_f1", "confusion", "ClassScor", ".classes", "class_names")
    own = {ROOT / "shared" / room for room in ("tasks", "scores", "data")}
    for path in SOURCES:
        if not own & set(path.parents):
            found = [word for word in words if word in path.read_text()]
            assert not found, f"{path} knows {found}"


def test_the_packages_never_assert():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}: python -O drops it"


def test_the_top_level_holds_what_it_should_and_folders_stay_folders():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    top = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    assert top == {
        ".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md", "agent",
        "constraints.txt", "coordinator", "deploy", "docs", "pyproject.toml", "scripts", "shared", "tests",
    }  # fmt: skip
    for folder in ("tests", "scripts", "deploy"):
        assert not list((ROOT / folder).rglob("__init__.py"))
    assert not (ROOT / "benchmarks").exists()
    assert not (ROOT / "examples").exists()


def test_the_files_of_tests_that_begin_first_exist_and_are_named_once():
    named = runpy.run_path(str(ROOT / "tests/conftest.py"))["LONGEST_FIRST"]
    assert len(set(named)) == len(named) > 10
    assert set(named) <= {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
