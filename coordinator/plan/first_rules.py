"""How a first plan trains each task: variant, steps, clipping norm, and what its learning rate follows from.

After T full-batch steps the noise in a weight of the mean model has a standard deviation of
rate · clip · σ · √T / (n · √N), and features of length 1 were learned best where that was about `reach`:
found on grey digits (MNIST), with 3 and 4 devices at ε 1, 2 and 8. For the numbers of the frozen network
twice that was best in trials with ten devices, composed scenes and photos of solar cells, ε 1 to 8. Other
pictures were not tried. Statistics of windows and of recordings have the same length. Of numbers that are
predicted, a seventh of it was best on made-up columns, 3 to 10 devices with 300 or 1,000 records, ε 1 to 8. A
squared error curves as the squared length of a record does, at most 1.09 there and 1.34 where changes are
foretold: rates above 1.8 and 1.4 overshoot, whatever the noise. Changes are small, and so are norm and reach:
tried on what eight wearers of a watch taught of two others, ε 2 and 8.
Adam divides a gradient by its own size, so its rate follows from neither. What tells the classes of boxes apart
was trained on composed scenes by four cameras of 150 pictures: .4 was best at ε 1, 3 and 8, and where there is more
noise than there was at ε 1, the rate falls.

Of too few records nothing is learned at any rate. In one step the records of one class, of all devices
together, add at most q·n·√N/classes for each σ of noise in any one direction (both have the clipping norm and √N).
Below 1, a linear model of grey digits (8 × 8; 2 and 10 classes, 3 and 10 devices, ε 2 and 8) mostly stayed between
guessing and half right, or depended on luck.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

FEATURES = "orientation"  # the task's own default, which a plan need not name
REACH = {"orientation": 1.4, "blocks": 1.4, "efficientnet-lite0": 2.8}


@dataclass(frozen=True, slots=True)
class Rule:
    """`rate`: the learning rate, where it does not follow from `reach`. `about` stands in the plan,
    `server` is its section of that name.
    """

    variant: str
    about: str
    reach: float = 1.4
    most_rate: float = 1000.0
    rate: float | None = None
    steps: int = 4
    sample_rate: float = 1.0
    clip: float = 0.1
    optimizer: str = "sgd"
    server: Mapping[str, str] = field(default_factory=dict)


def fewest_records(rule: Rule, noise: float, agents: int, classes: int) -> int:
    """Of one device: fewer, and in every step there is more noise than all records of a class can add."""
    return math.ceil(noise * max(1, classes) / (rule.sample_rate * math.sqrt(agents)))


_LINEAR = "a linear model, which suits few devices"
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "anomaly": Rule(
            "vae", "what is normal, by a small network; what is odd, is only measured",
            rate=0.01, steps=20, sample_rate=0.05, clip=1.0, optimizer="adam",
        ),
        "audio-command": Rule("statistics", "a linear model on public features of a recording, which suits few devices"),
        "detection": Rule(
            "lite", "boxes; what tells classes apart is trained, the rest stays as the public model has it",
            reach=0.32, most_rate=0.4, steps=1, clip=3.0,
            server={"strategy": "fedavgm", "schedule": "cosine", "average": "tail"},
        ),
        "feature-head": Rule("fixed", "a linear model on public image features, which suits few devices"),
        "forecasting": Rule("statistics", _LINEAR, reach=0.03, most_rate=1.4, clip=0.03),
        "multimodal": Rule("late", "a linear model on public features of each sense, which suits few devices"),
        "rare-classes": Rule("logistic", _LINEAR + "; how many rows each class has is counted in the first round"),
        "sensor-sequence": Rule("statistics", _LINEAR),
        "tabular": Rule("logistic", _LINEAR),
        "tabular-regression": Rule("linear", _LINEAR, reach=0.2, most_rate=1.5),
    }
)  # fmt: skip
