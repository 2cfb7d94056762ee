"""The rooms of the house (CONTRIBUTING.md, "Layout"); their order is held by import-linter."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOPS = ("agent", "coordinator", "shared")
MOST_MODULES = 12
ROOMS = sorted(
    path.parent.relative_to(ROOT)
    for top in TOPS
    for path in (ROOT / top).rglob("__init__.py")
    if path.parent.name != top and "migrations" not in path.parts
)
FILES = [path.relative_to(ROOT) for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))]


def public_face(room):
    """The names in `__all__` of a room: its modules and rooms that others may use."""
    tree = ast.parse((ROOT / room / "__init__.py").read_text())
    (value,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")  # fmt: skip
    return ast.literal_eval(value)


def used_by(path):
    """Every module or room of ours that a file imports, as a path without suffix."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("edgeveil."):
            base = Path(*node.module.split(".")[1:])
            for alias in node.names:
                inner = base / alias.name
                there = (ROOT / inner).is_dir() or (ROOT / inner).with_suffix(".py").exists()
                yield inner if there else base


@pytest.mark.parametrize("top", TOPS)
def test_the_three_top_packages_hold_rooms_and_nothing_else(top):
    assert {path.name for path in (ROOT / top).iterdir() if path.is_file()} == {"__init__.py", "py.typed"}  # fmt: skip


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_a_room_is_small_and_says_what_lives_there(room):
    modules = {path.stem for path in (ROOT / room).glob("*.py")} - {"__init__"}
    assert len(modules) <= MOST_MODULES
    assert ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))
    rooms = {path.parent.name for path in (ROOT / room).glob("*/__init__.py")}
    face = public_face(room)
    assert face == sorted(set(face))
    assert set(face) <= modules | rooms, "__all__ names what is not there"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_the_public_face_of_a_room_is_used_from_outside(path):
    for used in used_by(path):
        for room in used.parents:
            if room in ROOMS and room not in path.parents:
                part = used.relative_to(room).parts[0]
                assert part in public_face(room), (
                    f"{path} uses {used}, which {room} keeps to itself"
                )


def test_nothing_is_in_a_public_face_that_nobody_outside_uses():
    # The last two are imported by the names in Commands.places of agent/cli/app.py.
    commands = {("agent/cli", "app"), ("coordinator/cli", "app"), ("agent/cli/speed", "bench"), ("agent/cli/speed", "optimize")}  # fmt: skip
    wanted = {
        (room.as_posix(), used.relative_to(room).parts[0])
        for path in FILES
        for used in used_by(path)
        for room in used.parents
        if room in ROOMS and room not in path.parents
    }
    faces = {(room.as_posix(), name) for room in ROOMS for name in public_face(room)}
    assert faces == wanted | commands


def test_unit_tests_stand_where_the_packages_do():
    folders = {path.parent for path in (ROOT / "tests/unit").rglob("test_*.py")}
    for folder in folders:
        assert folder.relative_to(ROOT / "tests/unit") in ROOMS, folder


def test_the_packages_are_called_by_their_full_names_alone():
    """`import shared` would work from the root of a checkout, and make every class twice."""
    texts = [*FILES, *(path.relative_to(ROOT) for folder in ("tests", "scripts") for path in (ROOT / folder).rglob("*.py"))]  # fmt: skip
    for path in texts:
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in names:
                assert name.split(".")[0] not in TOPS, f"{path} imports {name}"
