"""`agent serve` and `agent watch` as a person starts them: trusted signers only, and newer models by themselves."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest
from delivery_bench import CNN, newer
from models_bench import pictures
from PIL import Image

from edgeveil.agent.delivery.kept import KeptModels
from edgeveil.agent.home.home import AgentHome
from edgeveil.shared.models.package import read_package

COMMAND = [sys.executable, "-P", "-c", "from edgeveil.agent.cli.app import main; main()"]
SIGNER = read_package(CNN).signer.hex()


@pytest.fixture
def home(tmp_path):
    made = AgentHome(tmp_path / "home")
    put_to_use(made, CNN)
    return made


def put_to_use(home, path):
    kept = KeptModels(home.path).add(read_package(path), path.read_bytes(), vouched=True)
    KeptModels(home.path).use(kept.model)


@contextmanager
def running(*arguments, home):
    command = [*COMMAND, *map(str, arguments), "--home", str(home.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process, json.loads(process.stderr.readline())["message"]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def refused(*arguments, home, code):
    found = subprocess.run([*COMMAND, *map(str, arguments), "--home", str(home.path)], capture_output=True, text=True)  # fmt: skip
    assert found.returncode == code, found.stderr
    assert found.stderr.count("\n") == 1
    return found.stderr


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(pictures(1, 8, 8)[0]).save(tmp_path / "a.png")
    return (tmp_path / "a.png").read_bytes()


def asked(said, home, data):
    url = re.search(r"http://\S+/v1/predict", said)[0]
    token = (home.path / "serve.token").read_text().strip()
    assert token not in said
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_serve_says_where_answers_and_stops_when_told(tmp_path, picture):
    home = AgentHome(tmp_path / "empty")
    with running("serve", CNN, "--listen", "127.0.0.1:0", "--trust", SIGNER, home=home) as (
        _,
        said,
    ):
        assert asked(said, home, picture)["label"] in {"apple", "pear", "plum"}
    refused("serve", CNN, "--listen", "0.0.0.0:0", "--trust", SIGNER, home=home, code=2)


def test_serve_follows_the_model_in_use(home, tmp_path, picture):
    with running("serve", "--listen", "127.0.0.1:0", home=home) as (_, said):
        assert asked(said, home, picture)["model"] == read_package(CNN).digest
        second = newer(tmp_path / "b.evm", 2)
        put_to_use(home, second)
        end = time.monotonic() + 20
        while asked(said, home, picture)["model"] != read_package(second).digest:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_serve_and_watch_want_a_signer_that_somebody_vouches_for(tmp_path):
    home = AgentHome(tmp_path / "empty")
    assert SIGNER in refused("serve", CNN, home=home, code=77)
    assert "--trust KEY" in refused("watch", tmp_path, "--model", CNN, home=home, code=77)
    assert "agent model get" in refused("serve", home=home, code=2)
    assert "agent model get" in refused("watch", tmp_path, home=home, code=2)
    assert "not a folder" in refused("watch", tmp_path / "gone", home=home, code=2)


def test_watch_answers_each_file_as_it_arrives_and_goes_on_after_a_bad_one(home, tmp_path, picture):
    folder = tmp_path / "arriving"
    folder.mkdir()
    (folder / "before.png").write_bytes(picture)
    with running("watch", folder, home=home) as (process, said):
        assert read_package(CNN).digest[:12] in said
        time.sleep(1)
        (folder / "broken.png").write_bytes(b"no picture")
        (folder / "evil\x1b[31m.png").write_bytes(picture)
        line = process.stdout.readline()
        assert json.loads(line)["input"] == str(folder / "evil\x1b[31m.png")
        assert "\x1b" not in line
        (folder / "next.png").write_bytes(picture)
        found = json.loads(process.stdout.readline())
        assert list(found) == ["input", "label", "score", "scores"]
        assert found["input"] == str(folder / "next.png")
