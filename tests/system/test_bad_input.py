"""A user's mistakes: one clear sentence that names the file, key and fix; no traceback; nothing lost."""

import json
import shutil
import socket
import zipfile

import numpy as np
import pytest
from ports_bench import free_port
from processes_bench import POLICY, Machine, run

pytestmark = pytest.mark.system
GOOD_PLAN = """[task]
id = "feature-head"
[training]
steps = 2
clip_norm = 0.3
learning_rate = 100.0
epsilon = 8.0
[rounds]
count = 1
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    made = Machine(tmp_path_factory.mktemp("mistakes"), agents=3)
    try:
        made.serve()
        made.stop("coordinator")
        made.still = made.folder / "still"  # as it is when nobody serves, to be copied and broken
        shutil.copytree(made.home, made.still)
        made.serve()
        yield made
    finally:
        made.close()


def fails(*command, code, says, home=None, **options):
    found = run(*command, home=home, check=False, **options)
    assert found.returncode == code, found.stderr
    assert "Traceback" not in found.stderr
    assert found.stdout == ""
    for part in says:
        assert part in found.stderr.replace("\n", " "), found.stderr
    return found


def token_for(machine, name):
    return json.loads(run("coordinator", "invite", "--json", name, home=machine.home).stdout)[0][
        "token"
    ]


def test_a_mistyped_token_is_told_from_no_token(machine, tmp_path):
    token = token_for(machine, "typo")
    broken = token[:40] + ("A" if token[40] != "A" else "B") + token[41:]
    fails("agent", "join", broken, home=tmp_path / "a", code=77, says=["mistyped"])
    fails("agent", "join", "hello", home=tmp_path / "b", code=77, says=["not a join token"])
    assert not (tmp_path / "a" / "identity.key").exists()


def test_a_token_joins_one_device_and_no_second_one(machine, tmp_path):
    token = token_for(machine, "once")
    first = run("agent", "join", token, "--json", home=tmp_path / "first")
    again = run("agent", "join", token, "--json", home=tmp_path / "first")
    assert first.stdout == again.stdout
    fails(
        "agent",
        "join",
        token,
        home=tmp_path / "second",
        code=77,
        says=["another device", "ask for a new one"],
    )


def test_an_unknown_and_a_replaced_token_are_refused(machine, tmp_path):
    old = token_for(machine, "replaced")
    token_for(machine, "replaced")
    fails("agent", "join", old, home=tmp_path / "a", code=77, says=["token"])


def test_a_token_of_another_authority_stops_at_the_handshake(machine, tmp_path):
    other = tmp_path / "other"
    run(
        "coordinator",
        "init",
        "--url",
        f"https://127.0.0.1:{machine.port}",
        "--no-passphrase",
        home=other,
    )
    token = json.loads(run("coordinator", "invite", "--json", "stranger", home=other).stdout)[0][
        "token"
    ]
    fails("agent", "join", token, home=tmp_path / "a", code=77, says=["certificate", "127.0.0.1"])


def test_an_unreachable_coordinator_is_named(tmp_path):
    port = free_port()
    run(
        "coordinator",
        "init",
        "--url",
        f"https://127.0.0.1:{port}",
        "--no-passphrase",
        home=tmp_path / "c",
    )
    token = json.loads(run("coordinator", "invite", "--json", "a", home=tmp_path / "c").stdout)[0][
        "token"
    ]
    fails("agent", "join", token, home=tmp_path / "a", code=69, says=[f"127.0.0.1:{port}"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "nothing usable"),
        (lambda path: path.write_text("x"), "not a data file"),
        (lambda path: (path.mkdir(), (path / "data.npz").write_bytes(b"junk")), "data.npz"),
        (lambda path: (path.mkdir(), np.savez(path / "data.npz", X=np.zeros((3, 28, 28)))), "y"),
        (lambda path: (path.mkdir(), np.savez(path / "d.npz", X=np.zeros((3, 28, 28)), y=np.zeros(2, int))), "one label per record"),
        (lambda path: (path.mkdir(), zipfile.ZipFile(path / "d.npz", "w").close()), "d.npz"),
    ],
)  # fmt: skip
def test_data_that_no_task_could_read_is_refused_before_anything_is_sent(
    machine, tmp_path, make, says
):
    data = tmp_path / "data"
    make(data)
    token = token_for(machine, "data")
    home = tmp_path / "home"
    fails(
        "agent", "run", "--join", token, "--data", data, home=home, code=65, says=[str(data), says]
    )
    assert not (home / "pinned.json").exists()


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        (("steps = 2", "steps = 0"), "training.steps", "greater than or equal to 1"),
        (("steps = 2", "step = 2"), "training.step", "unknown key"),
        (("clip_norm = 0.3", "clip_norm = nan"), "training.clip_norm", "finite"),
        (("epsilon = 8.0", "epsilon = inf"), "training.epsilon", "finite"),
        (("learning_rate = 100.0", "learning_rate = 1e999"), "training.learning_rate", "finite"),
        (("count = 1", "count = 1\ngoal = 2"), "rounds", "below minimum"),
        (("count = 1", 'count = "many"'), "rounds.count", "integer"),
        (('id = "feature-head"', 'id = "../../etc"'), "task.id", "pattern"),
        (('id = "feature-head"', 'id = "magic"'), "task.id", "no task 'magic' is installed"),
        (
            ("count = 1", "count = 1\n[evaluation]\ndata = 'nowhere.npz'"),
            "evaluation.data",
            "does not exist",
        ),
        (("[task]", "[task"), "plan.toml", "not valid TOML"),
    ],
)
def test_a_wrong_plan_names_file_key_and_rule(machine, tmp_path, change, key, says):
    plan = tmp_path / "plan.toml"
    plan.write_text(GOOD_PLAN.replace(*change))
    fails("coordinator", "run", plan, home=machine.home, code=2, says=["plan", key, says])


def test_every_mistake_of_a_file_is_shown_at_once(machine, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text(GOOD_PLAN.replace("steps = 2", "steps = -1").replace("count = 1", "count = 0"))
    fails(
        "coordinator",
        "run",
        plan,
        home=machine.home,
        code=2,
        says=["training.steps", "rounds.count"],
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("epsilon_max = nan", "epsilon_max"),
        ("delta = 2.0", "delta"),
        ("epsilonmax = 3.0", "epsilonmax"),
        ("[secagg]\nn_min = 2", "allow_two"),
    ],
)
def test_a_wrong_policy_is_refused_before_the_device_joins(machine, tmp_path, line, says):
    policy = tmp_path / "policy.toml"
    policy.write_text(line + "\n")
    token = token_for(machine, "policy")
    home = tmp_path / "home"
    command = ("agent", "join", token, "--data", machine.pieces[0], "--policy", policy)
    fails(*command, home=home, code=2, says=["policy.toml", says])
    assert not (home / "pinned.json").exists()


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        home = tmp_path / "c"
        run(
            "coordinator",
            "init",
            "--url",
            f"https://127.0.0.1:{port}",
            "--listen",
            f"127.0.0.1:{port}",
            "--no-passphrase",
            home=home,
        )
        fails("coordinator", "serve", home=home, code=2, says=[f"127.0.0.1:{port}"])


def test_a_homeless_command_says_how_to_begin(tmp_path):
    empty = tmp_path / "nothing"
    for command in (["status"], ["rounds"], ["serve"], ["invite", "a"], ["run", "plan.toml"]):
        fails("coordinator", *command, home=empty, code=2, says=["coordinator init"])
    fails("agent", "budget", home=empty, code=77, says=["agent join"])
    assert not empty.exists()


def test_a_lost_database_is_damage_and_not_a_fresh_start(machine, tmp_path):
    home = tmp_path / "c"
    shutil.copytree(machine.still, home, ignore=shutil.ignore_patterns("state.db*"))
    for command in (["rounds"], ["serve"], ["invite", "a"]):
        fails("coordinator", *command, home=home, code=65, says=["state.db", "missing", "backup"])
    url = f"https://127.0.0.1:{machine.port}"
    fails("coordinator", "init", "--url", url, home=home, code=65, says=["state.db", "missing"])


def test_a_home_that_cannot_be_a_folder_is_a_mistake_and_no_bug(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    for role, command in (
        ("coordinator", ["init", "--url", "https://a:1", "--no-passphrase"]),
        ("agent", ["budget"]),
    ):
        found = run(role, *command, home=file, check=False)
        assert found.returncode in (2, 77), found.stderr
        assert str(file) in found.stderr
        assert "bug" not in found.stderr


def test_a_wrong_roster_file_is_named_and_never_quoted(machine, tmp_path):
    secret = tmp_path / "notes.txt"
    secret.write_text("ev1.SECRET-TOKEN")
    found = fails(
        "coordinator",
        "roster",
        "import",
        secret,
        home=machine.home,
        code=2,
        says=["not a roster file"],
    )
    assert "SECRET" not in found.stderr


def test_wrong_options_of_a_task_and_broken_test_data_are_told_at_submission(machine, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text(GOOD_PLAN.replace("[training]", "options = { height = 30 }\n[training]"))
    fails("coordinator", "run", plan, home=machine.home, code=2, says=["height", "multiple of 4"])
    (tmp_path / "test.npz").write_bytes(b"junk")
    plan.write_text(GOOD_PLAN + '[evaluation]\ndata = "test.npz"\n')
    fails("coordinator", "run", plan, home=machine.home, code=65, says=["test.npz"])


def test_a_key_that_others_can_read_stops_everything(machine, tmp_path):
    home = tmp_path / "c"
    shutil.copytree(machine.still, home)
    (home / "identity.key").chmod(0o644)
    fails("coordinator", "serve", home=home, code=65, says=["identity.key", "chmod 600"])


@pytest.mark.parametrize("name", ["serve.lock", "state.db", "events.jsonl", "identity.key"])
def test_a_link_in_the_coordinators_home_is_not_followed(machine, tmp_path, name):
    home, elsewhere = tmp_path / "c", tmp_path / "elsewhere"
    shutil.copytree(machine.still, home)
    shutil.copy(home / name, elsewhere)
    before = elsewhere.read_bytes()
    (home / name).unlink()
    (home / name).symlink_to(elsewhere)
    fails("coordinator", "serve", home=home, code=65, says=[name])
    assert elsewhere.read_bytes() == before


@pytest.fixture(scope="module")
def joined(machine, tmp_path_factory):
    """The home of a device that has joined, to be copied and broken."""
    home = tmp_path_factory.mktemp("joined") / "home"
    run("agent", "join", token_for(machine, "link"), "--data", machine.pieces[0], home=home)
    return home


@pytest.mark.parametrize("name", ["lock", "agent.log", "node.key", "pinned.json"])
def test_a_link_in_an_agents_home_is_not_followed(joined, tmp_path, name):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    shutil.copytree(joined, home)
    elsewhere.touch(mode=0o600)
    (home / name).unlink(missing_ok=True)
    (home / name).symlink_to(elsewhere)
    fails("agent", "run", home=home, code=65, says=[name])
    assert elsewhere.read_bytes() == b""


def test_a_dataset_name_is_a_name_and_never_a_path(machine, tmp_path):
    token = token_for(machine, "path")
    command = ("agent", "run", "--join", token, "--data", machine.pieces[0], "--dataset", "../up")
    fails(*command, home=tmp_path / "home", code=2, says=["dataset"])


def test_a_damaged_ledger_fails_closed(machine, tmp_path):
    home = tmp_path / "agent"
    token = token_for(machine, "damaged")
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    run("agent", "join", token, "--data", machine.pieces[0], "--policy", policy, home=home)
    ledger = home / "ledger" / "data"
    ledger.mkdir(parents=True, mode=0o700)
    (ledger / "ledger.jsonl").write_text('{"body": {}, "hash": "", "sig": ""}\n')
    (ledger / "ledger.jsonl").chmod(0o600)
    fails("agent", "budget", home=home, code=65, says=["ledger record 1", "refused"])


def test_wrong_names_and_lifetimes_are_refused(machine):
    fails("coordinator", "invite", "Über", home=machine.home, code=2, says=["a-z"])
    fails("coordinator", "invite", "a", "a", home=machine.home, code=2, says=["a"])
    fails(
        "coordinator",
        "invite",
        "b",
        "--ttl",
        "soon",
        home=machine.home,
        code=2,
        says=["--ttl", "1h"],
    )
    fails("coordinator", "rounds", "run-nowhere", home=machine.home, code=2, says=["run-nowhere"])


def test_nothing_to_sign_and_no_key_are_told_apart(machine, tmp_path):
    fails(
        "coordinator",
        "roster",
        "sign",
        tmp_path / "none.json",
        home=machine.home,
        code=2,
        says=["none.json"],
    )
    junk = tmp_path / "junk.json"
    junk.write_text("{}")
    fails("coordinator", "roster", "import", junk, home=machine.home, code=2, says=["roster"])
