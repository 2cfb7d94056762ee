"""agent.toml: what its owner wrote survives that the agent writes it again."""

import pytest

from edgeveil.agent.home.config import ComputeConfig, known_compute, save, settle
from edgeveil.shared.base.errors import ConfigError


def test_where_to_compute_is_kept_when_the_agent_writes_the_file_again(tmp_path):
    (tmp_path / "agent.toml").write_text(
        'data = "/srv/photos"\n[compute]\ndevice = "auto"\nthreads = 4\n'
    )
    save(tmp_path, settle(tmp_path, None, "photos"))
    assert settle(tmp_path, None, None).dataset == "photos"
    assert known_compute(tmp_path) == ComputeConfig(device="auto", threads=4)


def test_a_file_without_a_section_means_the_processor_and_stays_without(tmp_path):
    save(tmp_path, settle(tmp_path, tmp_path / "photos", None))
    assert "compute" not in (tmp_path / "agent.toml").read_text()
    assert known_compute(tmp_path) == ComputeConfig() == known_compute(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("line", "key"),
    [('device = "tpu"', "compute.device"), ("threads = 0", "compute.threads"), ("cores = 2", "compute.cores")],
)  # fmt: skip
def test_what_no_device_is_is_named_with_file_and_key(line, key, tmp_path):
    (tmp_path / "agent.toml").write_text(f'data = "/srv/photos"\n[compute]\n{line}\n')
    with pytest.raises(ConfigError, match=rf"agent\.toml: {key}"):
        settle(tmp_path, None, None)
