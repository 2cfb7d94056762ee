"""docs/states.md is what scripts/state_diagrams.py reads off the code."""

import runpy
from pathlib import Path

import pytest

from edgeveil.coordinator.machine.attempt import NEXT_STAGE
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.privacy.ledger.replay import CHANGES
from edgeveil.shared.privacy.ledger.state import Phase
from edgeveil.shared.wire.messages import Stage

ROOT = Path(__file__).resolve().parents[2]
DIAGRAMS = runpy.run_path(str(ROOT / "scripts/state_diagrams.py"))


def test_the_page_of_states_is_what_the_code_says():
    assert DIAGRAMS["PAGE"].read_text(encoding="utf-8") == DIAGRAMS["page"]()


def test_every_stage_and_every_phase_is_on_it():
    page = DIAGRAMS["page"]()
    for name in (*Stage.__members__, *Phase.__members__):
        assert f" --> {name} : " in page


def test_a_stage_that_is_passed_over_is_noticed(monkeypatch):
    monkeypatch.setitem(NEXT_STAGE, Stage.SHARE, Stage.AGREE)
    with pytest.raises(SystemExit, match="closes to CollectUnmasking, and UNMASK is the last"):
        DIAGRAMS["page"]()


def test_a_record_that_moves_no_reservation_any_more_is_noticed(monkeypatch):
    monkeypatch.setitem(CHANGES, Kind.SEAL, CHANGES[Kind.POLICY])
    with pytest.raises(SystemExit, match="the ledger's records lead to"):
        DIAGRAMS["page"]()


def test_a_record_that_nobody_writes_any_more_is_noticed(monkeypatch, tmp_path):
    (tmp_path / "session.py").write_text("def take_part(ledger):\n    ledger.reserve()\n")
    monkeypatch.setitem(DIAGRAMS["on_a_device"].__globals__, "ROUNDS", tmp_path)
    with pytest.raises(
        SystemExit, match="ledger ack, ledger seal, ledger submit, ledger unlimited, secagg advert"
    ):
        DIAGRAMS["page"]()
