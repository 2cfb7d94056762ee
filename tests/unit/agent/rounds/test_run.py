"""`agent run` on a device that lacks something."""

import pytest

from edgeveil.agent.rounds import run


def test_a_device_that_cannot_train_says_so_before_it_touches_anything(tmp_path, monkeypatch):
    """A token used up by a device without torch would be lost."""
    monkeypatch.setattr(run, "NEEDED", ("numpy", "no_such_package"))
    with pytest.raises(ModuleNotFoundError) as missing:
        run.run_device(
            tmp_path / "home",
            token=None,
            data=None,
            policy=None,
            dataset=None,
            accept_policy=False,
            on_status=print,
        )
    assert missing.value.name == "no_such_package"
    assert list(tmp_path.iterdir()) == []
