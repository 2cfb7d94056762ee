"""docs/models.md, "Behind HTTP": its lines do what they say, and its limits are those of the code."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from models_bench import VECTORS, pictures
from PIL import Image
from service_bench import TOKEN, Served

from edgeveil.agent.inference.serving import limits, openapi

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
PART = TEXT.partition("## Behind HTTP")[2].partition("\n## ")[0]
FIRST, SOCKET = re.findall(r"```sh\n(.*?)```", PART, re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    shutil.copy(VECTORS / "cnn.evm", tmp_path / "bag.evm")
    raw = pictures(2, 8, 8)
    for name, each in zip(("photo.jpg", "other.jpg"), raw, strict=True):
        Image.fromarray(each).save(tmp_path / name, quality=95)
    np.savez(tmp_path / "more.npz", X=raw)
    (tmp_path / "token").write_text(TOKEN)
    return tmp_path


def said(line, folder):
    found = subprocess.run(["bash", "-euc", line], cwd=folder, env={**os.environ, "no_proxy": "*"}, capture_output=True, text=True, check=True).stdout  # fmt: skip
    return found if found[0] == "#" else [json.loads(each) for each in found.splitlines()]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_every_line_for_loopback_does_what_it_says(folder):
    made = Served(folder / "bag.evm")
    first, *lines = FIRST.replace("8482", str(made.port)).replace("~/.local/state/edgeveil/agent/serve.token", str(folder / "token")).splitlines()  # fmt: skip
    found = [said(f"{first}\n{line}", folder) for line in lines]
    made.close()
    one, many, streamed, health, model, document, metrics = found
    assert list(one[0]) == ["model", "label", "score", "scores"]
    assert [len(many[0]["predictions"]), len(streamed)] == [2, 2]
    assert [each["label"] for each in streamed][1] == one[0]["label"]
    assert (health, model[0]["model"], document[0]["openapi"]) == ([{"serving": True}], one[0]["model"], "3.1.0")  # fmt: skip
    assert metrics.endswith("# EOF\n")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_line_for_a_socket_needs_no_token(folder):
    made = Served(folder / "bag.evm", folder / "own" / "serve.sock")
    (found,) = said(SOCKET.replace("/run/user/1000/edgeveil/serve.sock", str(made.where)), folder)
    made.close()
    assert found["model"] == made.slot.current().digest


def test_routes_metrics_and_limits_are_those_of_the_code():
    assert {f"`{route}`" for route in openapi.ROUTES} <= set(re.findall(r"`[^`\n]+`", PART))
    text = " ".join(PART.split())
    for told in (
        f"At most {limits.MOST_BODY >> 20} MiB and {limits.MOST_RECORDS:,} records",
        f"more than {limits.MOST_AT_ONCE} requests at once, {limits.MOST_STREAMS} streams or {limits.MOST_CONNECTIONS} connections",
        f"at most {limits.MOST_LINE >> 20} MiB, {limits.MOST_LINES:,} lines, {limits.MOST_STREAMED >> 30} GiB and an hour",
        f"{limits.IDLE_S:g} s of silence and {limits.LINE_S:g} s for a line",
    ):
        assert told in text
    assert limits.STREAM_S == 3600
