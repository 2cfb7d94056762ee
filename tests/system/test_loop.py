"""docs/loop.md: the whole loop with real processes; under load, a newer model takes its place without a failed answer."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.system


@pytest.mark.timeout(900)
def test_a_new_round_reaches_three_devices_under_load_without_a_failed_answer(tmp_path):
    command = [sys.executable, ROOT / "scripts/loop.py", "--rounds", "1", "--home", tmp_path / "loop", "--no-input"]  # fmt: skip
    ended = subprocess.run([*map(str, command)], env=os.environ, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = re.findall(r"│ agent-[123] │([^\n]*)│", ended.stdout)
    assert len(rows) == 3
    cells = [[cell.strip() for cell in row.split("│")] for row in rows]
    assert all(int(answers) > 0 and failed == "0" for answers, failed, *_ in cells)
    assert len({(before, after) for *_, before, after, _ in cells}) == 1
    assert cells[0][4] != cells[0][5]
    assert "of the held-out digits" in ended.stdout


def test_the_page_names_the_script_and_every_command_of_it():
    text = (ROOT / "docs" / "loop.md").read_text()
    script = (ROOT / "scripts/loop.py").read_text()
    assert "./scripts/loop.sh" in text
    for words in ("model export", "model publish", "agent serve", "model list"):
        assert words in text
        assert ", ".join(f'"{word}"' for word in words.split()) in script
