"""CONTRIBUTING.md describes the rooms as they are."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]  # fmt: skip
TOPS = ("coordinator", "agent", "shared")


def layers(top):
    """Each room with its layer, 1 at the bottom, by the contract that holds it."""
    (contract,) = (c for c in CONTRACTS if c.get("containers") == [f"edgeveil.{top}"])
    rows = reversed(contract["layers"])
    return {room: number for number, row in enumerate(rows, 1) for room in row.split(" | ")}


def described(top):
    table = TEXT.split(f"| `{top}/` | layer | holds |\n", 1)[1].split("\n\n", 1)[0]
    return {room: int(layer) for room, layer in re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE)}  # fmt: skip


@pytest.mark.parametrize("top", TOPS)
def test_every_room_is_described_with_the_layer_that_its_contract_gives_it(top):
    rooms = {path.parent.name for path in (ROOT / top).glob("*/__init__.py")}
    assert described(top) == layers(top)
    assert set(described(top)) == rooms


def test_every_path_that_is_named_exists():
    found = re.findall(r"(?:agent|coordinator|shared|docs|tests|scripts|deploy)/[\w./-]*\w", TEXT)
    assert len(found) > 40
    for path in found:
        assert (ROOT / path).exists(), path


def test_every_library_named_in_the_rules_has_a_contract():
    table = TEXT.split("| library | only in |\n", 1)[1].split("\n\n", 1)[0].lower()
    for contract in CONTRACTS:
        if contract["type"] == "protected":
            for library in contract["protected_modules"]:
                assert {"flwr": "flower"}.get(library, library) in table, library
