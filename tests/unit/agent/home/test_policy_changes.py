"""Which edits of policy.toml need the owner's confirmation."""

import pytest

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.policy_changes import loosened

RULE = {"id": "feature-head", "version": "1.0.0"}


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ({}, {"epsilon_max": 8.1}, "epsilon_max"),
        ({}, {"delta": 2e-5}, "delta"),
        ({"q_max": 0.5}, {}, "q_max"),
        ({}, {"steps_max": 1001}, "steps_max"),
        ({}, {"rounds_max": 10_001}, "rounds_max"),
        ({}, {"sigma_min": 0.4}, "sigma_min"),
        ({}, {"clip_norm": {"least": 1e-3, "most": 11.0}}, "clip_norm"),
        ({}, {"clip_norm": {"least": 1e-4, "most": 10.0}}, "clip_norm"),
        ({}, {"learning_rate": {"least": 1e-6, "most": 1e5}}, "learning_rate"),
        ({"gradient_modes": ["ghost"]}, {}, "gradient_modes"),
        ({"tasks": [RULE]}, {}, "tasks"),
        ({"tasks": []}, {"tasks": [RULE]}, "tasks"),
        ({"tasks": [{**RULE, "hash": "ab" * 32}]}, {"tasks": [RULE]}, "tasks"),
        ({"tasks": [{**RULE, "variants": ["fixed"]}]}, {"tasks": [RULE]}, "tasks"),
        (
            {"tasks": [{**RULE, "variants": ["a"]}]},
            {"tasks": [{**RULE, "variants": ["a", "b"]}]},
            "tasks",
        ),
        ({"coordinators": ["ab" * 32]}, {"coordinators": ["cd" * 32]}, "coordinators"),
        ({"coordinators": ["ab" * 32]}, {}, "coordinators"),
        ({}, {"coordinators": ["ab" * 32]}, "coordinators"),
        ({"secagg": {"n_min": 4}}, {}, "secagg.n_min"),
        ({}, {"secagg": {"gamma_ppm": 50_000}}, "secagg.gamma_ppm"),
        ({}, {"secagg": {"c_min": 0}}, "secagg.c_min"),
        ({}, {"secagg": {"sigma": 64}}, "secagg.sigma"),
        ({}, {"secagg": {"n_max": 20_000}}, "secagg.n_max"),
        ({"secagg": {"bits": [32]}}, {}, "secagg.bits"),
        ({"secagg": {"prg": ["chacha20"]}}, {}, "secagg.prg"),
        ({}, {"secagg": {"allow_two": True}}, "secagg.allow_two"),
    ],
)
def test_a_looser_value_is_named_and_its_reverse_is_not(old, new, key):
    assert loosened(Policy(**old), Policy(**new)) == (key,)
    backwards = loosened(Policy(**new), Policy(**old))
    assert backwards == (() if key != "coordinators" else ("coordinators",))


def test_pinning_a_hash_of_an_allowed_task_is_no_loosening():
    pinned = {"tasks": [{**RULE, "hash": "ab" * 32}]}
    assert loosened(Policy(tasks=[RULE]), Policy(**pinned)) == ()
    assert loosened(Policy(), Policy(tasks=[RULE])) == ()


def test_a_subset_of_the_allowed_coordinators_is_no_loosening():
    both = {"coordinators": ["ab" * 32, "cd" * 32]}
    assert loosened(Policy(**both), Policy(coordinators=["ab" * 32])) == ()


def test_the_planned_schedule_and_the_declared_size_never_count():
    schedule = {"noise_multiplier": 1.0, "sample_rate": 1.0, "steps": 1}
    assert loosened(Policy(), Policy(schedule=schedule, n_ref=10)) == ()
