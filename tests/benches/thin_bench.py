"""Agents without torch: training is one line of numpy, everything around it is the product's."""

import random
from types import SimpleNamespace

import numpy as np

from edgeveil.agent.home.policy import Policy, SecaggPolicy
from edgeveil.agent.training.noise import gaussian
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.records import ArrayRecords
from edgeveil.shared.tasks.spec import Options
from edgeveil.shared.wire.messages import Tensor

SPEC = registry.newest("feature-head")
POLICY = Policy(secagg=SecaggPolicy(n_min=3, c_min=0))


class ThinTask:
    """The task protocol without torch: `size` parameters and nothing to learn."""

    spec = SPEC

    def __init__(self, size):
        self.size = size

    def parse_options(self, raw):
        return Options(variant=str(raw["variant"]))

    def tensors(self, _options):
        return (Tensor("weight", (self.size,)),)


class ThinTrainer:
    """The update of agent i is i + 1 in every place, times a thousandth; `seen` hears of each.

    With `unlike` no two updates are the same, so that one in the place of another is noticed. With `draws` the noise
    of the one step is drawn as training would, and dropped: for what measures a whole round.
    """

    def __init__(self, number, seen=None, *, unlike=False, draws=False):
        self.number = number
        self.draws = draws
        self.unlike = unlike
        self.seen = seen or (lambda _plan: None)

    def check_trainable(self, *_arguments, **_options):
        return None

    def train(self, _task, _options, _examples, start, _tensors, plan, _n_ref, **_more):
        self.seen(plan)
        if self.draws:
            gaussian(start.size, 1.0)
        more = random.SystemRandom().random() if self.unlike else 0
        update = np.full(start.size, (self.number + 1 + more) / 1000, np.float32)
        return SimpleNamespace(update=update, steps=plan.steps, gradient_mode="hooks")

    def summed_gradients(self, _task, _options, _examples, start, _tensors, _plan, _n_ref, **_more):
        sums = np.full(start.size, (self.number + 1) / 1000)
        return SimpleNamespace(sums=sums, gradient_mode="hooks")


class Unasked:
    """In the place of a run's Willing: a coordinator that begins with an offer."""

    def unwilling(self, _number, _connected):
        return {}


class ThinShelf:
    def count(self):
        return 100

    def load(self, _task, _options):
        return ArrayRecords(np.zeros((100, 1), np.float32), np.zeros(100, np.int64))


def thin_plan(agents, *, rounds=2, **changes):
    values = {
        "task": {"id": "feature-head", "options": {"variant": "thin"}},
        "training": {"steps": 2, "clip_norm": 0.3, "learning_rate": 1.0, "epsilon": 8.0},
        "rounds": {"count": rounds, "goal": agents, "minimum": 3, "deadline_s": 20.0, "attempts": 100, "spare": 8},
        "secagg": {"c_min": 0},
    }  # fmt: skip
    for name, value in changes.items():
        section, key = name.split("__")
        values.setdefault(section, {})[key] = value
    return Plan.model_validate(values)
