"""Files that arrive: each once, when it is whole; what was there before is old."""

import os

from edgeveil.agent.inference.arrivals import Arrivals


def test_a_file_arrives_once_when_it_has_stopped_growing(tmp_path):
    (tmp_path / "old.png").write_bytes(b"1")
    found = Arrivals(tmp_path)
    assert found.look() == []
    path = tmp_path / "deep/new.PNG"
    path.parent.mkdir()
    path.write_bytes(b"1")
    assert found.look() == []
    path.write_bytes(b"12")
    assert found.look() == []
    assert found.look() == [str(path)]
    assert found.look() == []


def test_a_file_that_changes_arrives_again_and_one_that_comes_back_too(tmp_path):
    found, path = Arrivals(tmp_path), tmp_path / "a.npz"
    found.look()
    for content in (b"1", b"123"):
        path.write_bytes(content)
        assert [found.look(), found.look()] == [[], [str(path)]]
    path.unlink()
    assert found.look() == []
    path.write_bytes(b"123")
    assert [found.look(), found.look()] == [[], [str(path)]]


def test_what_is_there_at_first_arrives_only_if_asked_for(tmp_path):
    (tmp_path / "old.png").write_bytes(b"1")
    found = Arrivals(tmp_path, existing=True)
    assert [found.look(), found.look()] == [[], [str(tmp_path / "old.png")]]


def test_hidden_other_and_broken_entries_never_arrive(tmp_path):
    found = Arrivals(tmp_path)
    found.look()
    for name in (".hidden.png", "notes.txt", ".folder/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "broken.png").symlink_to("nowhere.png")
    assert found.look() == found.look() == []


def test_a_pipe_never_arrives_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    found = Arrivals(tmp_path)
    assert found.look() == found.look() == found.look() == []


def test_what_arrives_is_what_the_model_takes(tmp_path):
    found = Arrivals(tmp_path, endings=(".wav",))
    found.look()
    for name in ("a.wav", "b.png"):
        (tmp_path / name).write_bytes(b"1")
    found.look()
    assert found.look() == [str(tmp_path / "a.wav")]
