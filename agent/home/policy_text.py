"""policy.toml as it is written for the owner: every field with what it decides."""

import json
from collections.abc import Mapping
from typing import Any

TEMPLATE = """\
# What this device agrees to. Only you change this file; no coordinator can.
# Loosening a value takes effect only after you confirm it: agent policy set KEY=VALUE --yes

# The privacy budget of this dataset over the whole life of its ledger: all tasks, runs and
# coordinators together. epsilon at most 50; delta below one over the number of records.
epsilon_max = {epsilon_max}
delta = {delta}
unit = {unit}
{n_ref}

# Proposals outside these bounds are refused, never adjusted.
sigma_min = {sigma_min}
q_max = {q_max}
steps_max = {steps_max}    # per round
rounds_max = {rounds_max}    # per run
clip_norm = {clip_norm}
learning_rate = {learning_rate}
gradient_modes = {gradient_modes}

# "installed", or a list of tables with id, version and, to pin the code, hash.
tasks = {tasks}
# Own tasks beside them, each with the hash of the code that you have looked at: agent task install FILE
own_tasks = {own_tasks}
# "pinned" is the coordinator this device enrolled with; or a list of public keys in hex.
coordinators = {coordinators}

# "none": no metric of this device leaves it.
metrics = {metrics}
# The share of your records, at most 0.5, that is never trained on and that models are evaluated on: in noisy sums
# over many devices, charged to the budget above. 0: all records are trained on, and no evaluation takes place here.
# Which ones they are follows from a secret of this device (evaluation.key).
evaluation_share = {evaluation_share}
# true: each reply that carries the signed end of the ledger also tells this coordinator what the
# ledger has charged in all, of which limit. From it, it can see that you took part elsewhere.
tell_budget = {tell_budget}
# true: this coordinator is told which published model is in use here. From it, it can see what your
# own checks made of a model.
tell_model = {tell_model}
# true: whatever leaves this device is noised, and the budget above limits it. false, once you have confirmed it: the
# coordinators named beside it, by public key, may ask for training without noise. Only for devices and a coordinator
# of one owner: after the first such round the epsilon of these records is not limited, whatever is set back or reset.
dp_required = {dp_required}
without_noise_for = {without_noise_for}
secagg_required = {secagg_required}    # no way around it

# Optional: the use you plan for; it fixes the accounting order when the ledger is opened.
{schedule}

# Optional: this device adds a share of the noise, where a plan asks for it, and the sum carries all of it. What sums
# show stays within epsilon_sum_max if enough agents of each are honest and the masks hold; what holds if nothing else
# does is epsilon_max above. Only where the key that admits members is kept off the coordinator's machine.
{shared_noise}

[secagg]
n_min = {secagg[n_min]}    # agents that must be in the sum, this one included; 2 needs allow_two
n_max = {secagg[n_max]}
gamma_ppm = {secagg[gamma_ppm]}    # share of colluding agents to withstand, in millionths
c_min = {secagg[c_min]}    # at least this many colluding agents
sigma = {secagg[sigma]}    # statistical security in bits
bits = {secagg[bits]}
prg = {secagg[prg]}
allow_two = {secagg[allow_two]}

[when]    # this device trains only while all of it holds; what it cannot measure does not hold
charging = {when[charging]}    # true: on outside power
battery_min = {when[battery_min]}    # per cent of charge
idle = {when[idle]}    # true: other programs use at most load_max of the processors
load_max = {when[load_max]}
tell = {when[tell]}    # true: the coordinator is told these three as yes or no, and asks others meanwhile

[model]    # what this device does by itself with models that its coordinator publishes
fetch = {model[fetch]}    # true: it takes them, checks them, and uses what passes
worse_max = {model[worse_max]}    # a model that is right on so many fewer of your own records is not used, as a share

# What your records are. Written when the device first starts, from what is in the folder, and fixed from
# then on: no offer decides how they are read, and one for anything else is refused. With a smaller share of
# usable records than usable_min this device does not start: agent run ends and says why.
{data}
"""


FORMS = """\
# Of pictures:
# [data]
# height = 28
# width = 28
# channels = 1    # 3: in colours
# labels = ["0", "1"]
# usable_min = 0.5
# Of rows, or windows of rows, of files beside a schema.toml:
# [data]
# kind = "windows"    # "table" has no window and no step
# columns = ["temp [°C]", "load [%]"]
# target = ""    # "power [W]" where a number is to be learned
# window = 100
# step = 100
# labels = ["ok", "fault"]
# usable_min = 0.5"""


def render(fields: Mapping[str, Any]) -> str:
    """The commented file that Policy.load reads back to an equal policy."""
    values: dict[str, Any] = {name: _toml(value) for name, value in fields.items()}
    values["secagg"] = {name: _toml(value) for name, value in fields["secagg"].items()}
    values["when"] = {name: _toml(value) for name, value in fields["when"].items()}
    values["model"] = {name: _toml(value) for name, value in fields["model"].items()}
    n_ref = fields["n_ref"]
    values["n_ref"] = (
        "# n_ref = 1000    # public size of the data set; default: a step of 1, 3, 10, 30, … from a noisy count"
        if n_ref is None
        else f"n_ref = {n_ref}"
    )
    schedule = fields["schedule"]
    values["schedule"] = (
        "# schedule = { noise_multiplier = 4.5, sample_rate = 1.0, steps = 40 }"
        if schedule is None
        else f"schedule = {_toml(schedule)}"
    )
    shared = fields["shared_noise"]
    values["shared_noise"] = (
        '# shared_noise = { epsilon_sum_max = 1.0, federation_key = "offline" }'
        if shared is None
        else f"shared_noise = {_toml(shared)}"
    )
    data = fields["data"]
    values["data"] = (
        FORMS
        if data is None
        else "\n".join(["[data]", *(f"{name} = {_toml(value)}" for name, value in data.items())])
    )
    return TEMPLATE.format_map(values)


def _toml(value: Any) -> str:
    """One TOML value; JSON's strings, numbers and booleans are TOML's."""
    if isinstance(value, Mapping):
        inner = ", ".join(
            f"{name} = {_toml(item)}" for name, item in value.items() if item is not None
        )
        return f"{{ {inner} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value)
