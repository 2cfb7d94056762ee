"""Rules and forwarding between real processes: what arrives, what survives kill -9, and what holds up nobody."""

import hashlib
import json
import ssl
import subprocess
import time

import numpy as np
import pytest
from detector_bench import package
from faults_bench import can_mount, mount, take_all_space, unmount
from moving_bench import HIGH, WIDE, write_video
from processes_bench import run
from rules_bench import (
    CNN,
    COMMAND,
    SIGNER,
    Broker,
    Collector,
    Service,
    eventually,
    hanging,
    listens,
    needs_mosquitto,
    owner,
    picture,
    serving,
    webhook,
)  # fmt: skip

from edgeveil.agent.forwarding.outbox import standing

pytestmark = pytest.mark.system
PICTURE, LABEL = picture()
FORWARD = '[forward]\nurl = "{url}"\ntoken_file = "{token}"\n{trust}\nmost_entries = {most}\n'
ALARM = f'[[rule]]\nname = "seen"\nwhen = "label == \'{LABEL}\' and score > 0"\n'


def forwarding(collector, *, token=None, trust=None, most=1000):
    token = token or collector.add("cam-1")
    trust = f'ca_file = "{collector.ca}"' if trust is None else trust
    return FORWARD.format(url=collector.url, token=token, trust=trust, most=most)


def pin_of(collector):
    der = ssl.PEM_cert_to_DER_cert(collector.operator.certificate.read_text())
    return f'pin = "{hashlib.sha256(der).hexdigest()}"'


@pytest.fixture
def collector(tmp_path):
    made = Collector(tmp_path)
    yield made
    made.kill()


def results(collector, name="cam-1"):
    return collector.counts()[name]["results"]


def test_an_alarm_and_results_arrive_and_hold_nothing_of_the_input(tmp_path, collector):
    collector.start()
    with webhook() as (url, got):
        owner(tmp_path / "home", ALARM + f'webhook = "{url}"\n' + forwarding(collector))
        with serving(tmp_path / "home") as service:
            answers = [service.ask(PICTURE) for _ in range(3)]
            eventually(lambda: len(got) == 1 and results(collector) == 3, "alarm and results")
            time.sleep(1)
    ((path, headers, body),) = (eval(line) for line in got)
    alarm = json.loads(body)
    assert path == "/hook"
    assert headers["Content-Type"] == "application/json"
    assert set(alarm) == {"id", "rule", "time", "model", "label", "score"}
    assert (alarm["rule"], alarm["label"], alarm["model"]) == ("seen", LABEL, answers[0]["model"])
    assert collector.counts()["cam-1"]["labels"] == {LABEL: 3}


def test_watch_forwards_no_name_of_a_file(tmp_path):
    (tmp_path / "arriving").mkdir()
    with webhook() as (url, got):
        owner(tmp_path / "home", ALARM + f'webhook = "{url}"\n[forward]\nurl = "{url}/results"\n')
        command = [*COMMAND, "watch", str(tmp_path / "arriving"), "--existing", "--model", str(CNN), "--trust", SIGNER, "--home", str(tmp_path / "home")]  # fmt: skip
        (tmp_path / "arriving/patient-kowalski.png").write_bytes(PICTURE)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
        try:
            eventually(lambda: len(got) == 2, "an alarm and a result")
        finally:
            process.terminate()
            out, _ = process.communicate(timeout=30)
    assert "kowalski" in out
    assert "kowalski" not in "".join(got)
    (sent,) = (json.loads(eval(line)[2])["results"] for line in got if "/hook/results" in line)
    assert [set(each) for each in sent] == [{"id", "time", "model", "label", "score"}]


def test_results_of_a_service_killed_with_nobody_to_take_them_arrive_once_each(tmp_path, collector):
    owner(tmp_path / "home", forwarding(collector, trust=pin_of(collector)))
    with serving(tmp_path / "home") as service:
        for _ in range(5):
            service.ask(PICTURE)
        service.kill()
    assert standing(tmp_path / "home")["forward"]["waiting"] == 5
    with serving(tmp_path / "home") as service:
        collector.start()
        eventually(lambda: results(collector) == 5, "what waited")
        collector.kill()
        for _ in range(4):
            service.ask(PICTURE)
        service.kill()
        collector.start()
    with serving(tmp_path / "home") as service:
        service.ask(PICTURE)
        eventually(lambda: results(collector) == 10, "all")
        eventually(lambda: not standing(tmp_path / "home")["forward"].get("waiting"), "the last")
    assert results(collector) == 10
    assert standing(tmp_path / "home")["forward"] == {"sent": 10}


@pytest.mark.parametrize("fault", ["other pin", "no authority", "wrong token"])
def test_whom_the_owner_does_not_trust_gets_nothing(tmp_path, collector, fault):
    collector.start()
    token = collector.add("cam-1")
    if fault == "wrong token":
        token = tmp_path / "wrong.token"
        token.write_text("a" * 64)
        token.chmod(0o600)
    trust = {"other pin": f'pin = "{"ab" * 32}"', "no authority": ""}.get(fault)
    owner(tmp_path / "home", forwarding(collector, token=token, trust=trust))
    with serving(tmp_path / "home") as service:
        service.ask(PICTURE)
        eventually(lambda: any("not delivered" in each for each in service.said), lambda: service.said)  # fmt: skip
    assert results(collector) == 0
    assert standing(tmp_path / "home")["forward"] == {"waiting": 1}


def test_a_collector_that_hangs_slows_no_answer_and_the_oldest_wait_in_vain(tmp_path):
    (tmp_path / "t.token").write_text("a" * 64)
    (tmp_path / "t.token").chmod(0o600)
    with hanging() as port:
        url = f"http://127.0.0.1:{port}/v1/results"
        owner(tmp_path / "home", FORWARD.format(url=url, token=tmp_path / "t.token", trust="", most=5))  # fmt: skip
        with serving(tmp_path / "home") as service:
            service.ask(PICTURE)
            times = []
            for _ in range(20):
                began = time.monotonic()
                service.ask(PICTURE)
                times.append(time.monotonic() - began)
            assert sorted(times)[10] < 1, times
            began = time.monotonic()
            service.stop()
            assert time.monotonic() - began < 10
    assert standing(tmp_path / "home")["forward"] == {"waiting": 5, "dropped": 16}


def test_with_a_full_disk_answers_go_on_and_so_does_forwarding_with_space_again(tmp_path, collector):  # fmt: skip
    if not can_mount(tmp_path):
        pytest.skip("a small disk needs root to mount it")
    home = tmp_path / "home"
    mount(home, "8m")
    try:
        owner(home, forwarding(collector))
        service = Service(home)
        service.ask(PICTURE)
        take_all_space(home / "balloon")
        for _ in range(600):
            service.ask(PICTURE)
            if any("are lost" in each for each in service.said):
                break
        assert any("free some space" in each for each in service.said), service.said
        assert service.ask(PICTURE)["label"] == LABEL
        (home / "balloon").unlink()
        before = standing(home)["forward"]["waiting"]
        service.ask(PICTURE)
        assert standing(home)["forward"]["waiting"] == before + 1
        collector.start()
        eventually(lambda: results(collector) == before + 1, "what was kept", 120)
        service.stop()
    finally:
        unmount(home)


@needs_mosquitto
def test_an_alarm_waits_for_the_broker_and_arrives_under_its_topic(tmp_path, collector):
    broker = Broker(tmp_path / "broker", collector.operator)
    for name, text in (("right", "right\n"), ("wrong", "wrong\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)

    def rule(name, password, topic, trust):
        about = f'broker = "127.0.0.1:{broker.port}", user = "cam", password_file = "{tmp_path}/{password}"'  # fmt: skip
        return ALARM.replace("seen", name) + f'mqtt = {{ {about}, topic = "{topic}", {trust} }}\n'

    rules = rule("seen", "right", "street/{label}", f'ca_file = "{collector.ca}"')
    rules += rule("pinned", "right", "street/pinned", pin_of(collector))
    rules += rule("shut-out", "wrong", "street/x", pin_of(collector))
    rules += rule("other", "right", "street/y", f'pin = "{"ab" * 32}"')
    owner(tmp_path / "home", rules)
    try:
        with serving(tmp_path / "home") as service:
            service.ask(PICTURE)
            eventually(lambda: sum("not delivered" in each for each in service.said) == 4, lambda: service.said)  # fmt: skip
            service.kill()
        broker.start()
        with serving(tmp_path / "home") as service:
            eventually(lambda: len(broker.got) == 2, lambda: service.said)
            for why in ("shut-out: not delivered (the broker says", "not the pinned one"):
                eventually(lambda why=why: any(why in each for each in service.said), lambda: service.said)  # fmt: skip
    finally:
        broker.stop()
    found = {topic: json.loads(body)["rule"] for topic, body in broker.got}
    assert found == {f"street/{LABEL}": "seen", "street/pinned": "pinned"}


def test_an_event_of_a_counted_video_runs_a_command_and_is_counted_at_the_centre(tmp_path, collector):  # fmt: skip
    (tmp_path / "eyes.evm").write_bytes(package())
    (tmp_path / "LINE.toml").write_text("[stopped]\nafter_s = 1.0\n")
    still = np.zeros((HIGH, WIDE, 3), np.uint8)
    still[: HIGH // 2, : WIDE // 2] = 255
    write_video(tmp_path / "still.avi", [still] * 30)
    text = f'[[rule]]\nname = "halt"\nwhen = "stopped and label == \'car\'"\ncommand = ["/usr/bin/touch", "--", "{tmp_path}/it-stopped"]\n'  # fmt: skip
    collector.start()
    owner(tmp_path / "home", text + forwarding(collector))
    count = ("predict", tmp_path / "eyes.evm", tmp_path / "still.avi", "--count", tmp_path / "LINE.toml", "--home", tmp_path / "home")  # fmt: skip
    run("agent", *count)
    assert not (tmp_path / "it-stopped").exists(), "rules of the home are for what stays at work"
    assert results(collector) == 0
    run("agent", *count, "--rules", tmp_path / "home/rules.toml")
    assert (tmp_path / "it-stopped").exists()
    assert standing(tmp_path / "home") == {"rule halt": {"sent": 1}, "forward": {"sent": 1}}
    assert collector.counts()["cam-1"]["labels"] == {"stopped/car": 1}


@pytest.mark.parametrize(("text", "code", "why"), [
    (ALARM + 'mqtt = { broker = "127.0.0.1:1883", topic = "a", tls = false }', 69, "edgeveil[mqtt]"),
    (ALARM.replace("score", "scor") + 'command = ["/bin/true"]', 2, 'did you mean "score"'),
    (ALARM.replace(LABEL, "nothing") + 'command = ["/bin/true"]', 2, "no label"),
    ('[forward]\nurl = "https://centre.example/"\ntoken_file = "gone.token"', 65, "does not exist"),
    ('[forward]\nurl = "https://centre.example/"\nca_file = "rules.toml"', 2, "no certificate authority"),
])  # fmt: skip
def test_what_can_never_be_delivered_is_told_before_the_first_answer(tmp_path, text, code, why):
    owner(tmp_path / "home", text)
    start = 'import sys; sys.modules["paho"] = None; from edgeveil.agent.cli.app import main; main()'  # fmt: skip
    command = [COMMAND[0], "-P", "-c", start, "serve", str(CNN), "--trust", SIGNER, "--home", str(tmp_path / "home"), "--listen", "127.0.0.1:0"]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert why in ended.stderr.replace("\n", " ")
    assert "Traceback" not in ended.stderr


def test_the_collector_keeps_each_result_once_and_refuses_what_is_none(tmp_path, collector):
    import httpx

    collector.start()
    token = collector.add("cam-1").read_text().strip()
    context = ssl.create_default_context(cafile=str(collector.ca))
    known = {"Authorization": f"Bearer {token}"}
    one = {"id": "ab" * 16, "time": 1e9, "model": "cd" * 32, "label": "fall\n<script>", "score": 0.5}  # fmt: skip
    with httpx.Client(verify=context, timeout=20) as client:

        def post(body, headers=known):
            return client.post(collector.url, content=body, headers=headers).status_code

        body = json.dumps({"results": [one, one]}).encode()
        assert [post(body), post(body)] == [200, 200]
        assert post(body, {}) == post(body, {"Authorization": "Bearer x"}) == 401
        for wrong in ({**one, "input": "a.jpg"}, {**one, "id": "x"}, {**one, "score": "high"}, {**one, "label": "a" * 201}, {**one, "time": -1}):  # fmt: skip
            assert post(json.dumps({"results": [wrong]}).encode()) == 422
        assert post(b"[" * 100_000) == post(b"") == post(b"{}") == 422
        assert post(b"x" * (1 << 20) + b"x") == 413
        assert post(iter([body])) == 411
        base = collector.url.removesuffix("/v1/results")
        assert client.get(base + "/").status_code == 401
        seen = (collector.folder / "page.token").read_text().strip()
        page = client.get(base + "/", params={"token": seen}).text
        assert client.get(base + "/v1/counts", headers={"Authorization": f"Bearer {seen}"}).json()["devices"]["cam-1"]["results"] == 1  # fmt: skip
    assert "cam-1" in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert results(collector) == 1
    assert listens(collector.port)
