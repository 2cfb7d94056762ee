"""Small tables and recordings for the tests of their reader and of the tasks that learn from them."""

import numpy as np

SCHEMA = """\
[[columns]]
name = "temp"
unit = "°C"
range = [-40, 85]

[[columns]]
name = "load"
unit = "%"
range = [0, 100]

[[columns]]
name = "state"
role = "label"
labels = ["ok", "fault"]
"""
LINES = "temp,load,state\n20,50,ok\n85,100,fault\n-40,0,ok\n"


def write_table(folder, lines=LINES, schema=SCHEMA, name="a.csv"):
    """A folder with a schema.toml and one file; `lines` as text or bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.toml").write_text(schema)
    data = lines if isinstance(lines, bytes) else lines.encode()
    (folder / name).write_bytes(data)
    return folder


def rising(count, state="ok", start=0):
    """Lines whose temperature counts up, so that a row can be told from its value."""
    return "".join(f"{start + at},50,{state}\n" for at in range(count))


def windows_of(length, *, step=None, more="", columns=SCHEMA):
    """A schema.toml for windows; `more` goes above the columns."""
    stride = "" if step is None else f"step = {step}\n"
    return f"window = {length}\n{stride}{more}\n{columns}"


MOTION = "".join(
    f'[[columns]]\nname = "{name}"\nunit = "{unit}"\nrange = [{-end}, {end}]\n\n'
    for name, unit, end in (
        *((name, "g", 8) for name in ("ax", "ay", "az")),
        *((name, "rad/s", 35) for name in ("wx", "wy", "wz")),
    )
)


def motion(count, length, classes, seed=0):
    """Windows (count, length, 6) whose pace tells the class, and the class (count,)."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    time = np.arange(length) / 50
    pace = 0.5 + labels[:, None, None]
    phase = random.uniform(0, 2 * np.pi, (count, 1, 6))
    waves = np.sin(2 * np.pi * pace * time[None, :, None] + phase)
    return (waves + random.normal(0, 0.1, (count, length, 6))).astype(np.float32), labels
