"""How a first plan trains each task: variant, steps, clipping norm, and what its learning rate follows from.

After T full-batch steps the noise in a weight of the mean model has a standard deviation of
rate · clip · σ · √T / (n · √N), and features of length 1 were learned best where that was about `reach`:
found on grey digits (MNIST), with 3 and 4 devices at ε 1, 2 and 8. For the numbers of the frozen network
twice that was best in trials with ten devices, composed scenes and photos of solar cells, ε 1 to 8. Other
pictures were not tried. Statistics of windows and of recordings have the same length. Of numbers that are
predicted, a seventh of it was best on made-up columns, 3 to 10 devices with 300 or 1,000 records, ε 1 to 8. A
squared error curves as the squared length of a record does, at most 1.09 there: rates above 1.8 overshoot, whatever
the noise. Changes are small, and so are norm and reach where they are foretold; with momentum 0.9 a rate of 0.8
adds up to 8. Chosen on what six wearers of a watch taught of two others, three columns up to half a second on, ε 1 to 8.
Adam divides a gradient by its own size, so its rate follows from neither. What tells the classes of boxes apart
was trained on composed scenes by four cameras of 150 pictures: .4 was best at ε 1, 3 and 8, and where there is more
noise than there was at ε 1, the rate falls.

Where so many records ask for a rate above the limit, models swing: `Rule.large` takes smaller steps, and more rounds
of one, with momentum 0.9 and the mean of the later half. What adds up is ten times the rate, so that the reach
0.3 is 3 in all: 3 and 4 were alike on clothes and rows held out of training, ε 1 to 8, and 2 half a point less;
plans that were tuned on a watch and on clothes before lie between 1.9 and 4.0. Below the limit the same change lost
up to a point, or gained two: it depends on the records.

Pictures of fewer than 16 pixels a side have hardly an edge: on digits of 8 × 8 with noise in shares at ε 1, a model of
their pixels, centred and of length 1, was right in 85 of 100 held-out training records where histograms gave 77.

Of too few records nothing is learned at any rate. In one step the records of one class, of all devices
together, add at most q·n·√N/classes for each σ of noise in any one direction (both have the clipping norm and √N).
Below 1, a linear model of grey digits (8 × 8; 2 and 10 classes, 3 and 10 devices, ε 2 and 8) mostly stayed between
guessing and half right, or depended on luck.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

ROUNDS = 20
FEATURES = "orientation"  # the task's own default, which a plan need not name
PIXELS, TINY = "pixels", 16  # pixels a side, below which they are taken as they are
REACH = {"pixels": 1.4, "orientation": 1.4, "blocks": 1.4, "efficientnet-lite0": 2.8}
STEADY = ("orientation", "blocks")  # those that many records were tried with


@dataclass(frozen=True, slots=True)
class Rule:
    """`rate`: the learning rate, where it does not follow from `reach`. `about` stands in the plan,
    `server` is its section of that name. `grows`: more rounds were tried where records are many.
    """

    variant: str
    about: str
    reach: float = 1.4
    most_rate: float = 1000.0
    rate: float | None = None
    rounds: int = ROUNDS
    steps: int = 4
    sample_rate: float = 1.0
    clip: float = 0.1
    optimizer: str = "sgd"
    server: Mapping[str, str] = field(default_factory=dict)
    grows: bool = False

    @property
    def large(self) -> "Rule":
        """In its place where the rate would be above `most_rate`."""
        return replace(self, reach=0.3, most_rate=600.0, rounds=100, steps=1, server=_MOMENTUM)


def fewest_records(rule: Rule, noise: float, agents: int, classes: int) -> int:
    """Of one device: fewer, and in every step there is more noise than all records of a class can add."""
    return math.ceil(noise * max(1, classes) / (rule.sample_rate * math.sqrt(agents)))


_MOMENTUM = {"strategy": "fedavgm", "average": "tail"}
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
        "feature-head": Rule("fixed", "a linear model on public image features, which suits few devices", grows=True),
        "forecasting": Rule(
            "changes", _LINEAR, reach=0.001, most_rate=0.8, rounds=60, steps=1, clip=0.01, server=_MOMENTUM,
        ),
        "image-classification": Rule("linear", "a linear model on pixels, which suits few devices and small pictures"),
        "multimodal": Rule("late", "a linear model on public features of each sense, which suits few devices"),
        "rare-classes": Rule("logistic", _LINEAR + "; how many rows each class has is counted in the first round"),
        "sensor-sequence": Rule("statistics", _LINEAR, grows=True),
        "tabular": Rule("logistic", _LINEAR, grows=True),
        "tabular-regression": Rule("linear", _LINEAR, reach=0.2, most_rate=1.5),
    }
)  # fmt: skip
