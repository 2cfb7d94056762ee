"""An explanation as rows of text, and as one self-contained page."""

from edgeveil.coordinator.explaining.explain import Explanation
from edgeveil.shared.pages.document import document
from edgeveil.shared.pages.markup import section, table
from edgeveil.shared.pages.text import escape, human_bytes, short

Row = tuple[str, str, str]


def rows(found: Explanation) -> tuple[Row, ...]:
    """(what, how much, how it is meant) of one round, the same in every look."""
    moved, spent = found.bytes_of_round, found.costs_of_round
    return (
        ("down, each device", human_bytes(moved.down), f"of it the model {human_bytes(moved.model)}"),
        ("up, each device", human_bytes(moved.up), f"of it the masked vector {human_bytes(moved.vector)}"),
        ("out, coordinator", human_bytes(moved.coordinator_out), "bodies alone: TLS, HTTP and envelopes come on top"),
        ("in, coordinator", human_bytes(moved.coordinator_in), "the same"),
        ("network, each device", _seconds(spent.agent_network_s), f"at {found.bandwidth_mbit_s:g} Mbit/s"),
        ("network, coordinator", _seconds(spent.coordinator_network_s), "on a link of the same speed"),
        ("CPU, each device", _seconds(spent.agent_cpu_s), "masks, noise and messages, without training itself"),
        ("CPU, coordinator", _seconds(spent.coordinator_cpu_s), "one core; those lost go before they upload"),
        ("a round", _seconds(spent.seconds), "coordinator's network and CPU and a device's, without training itself"),
        ("memory, each device", human_bytes(spent.agent_memory), "at most, by the largest models measured"),
        ("memory, coordinator", human_bytes(spent.coordinator_memory), "extrapolated above 100 devices"),
        *_privacy(found),
        *_protection(found),
    )  # fmt: skip


def _privacy(found: Explanation) -> tuple[Row, ...]:
    of, noise = found.epsilon, found.noise
    if of.round is None:
        return (("ε", "not limited", 'training.privacy = "none"'),)
    return (
        ("ε of a round", _real(of.round), f"{_real(of.round_of_sums)} towards whoever sees sums alone"),
        ("ε of the run", _real(of.run), f"{_real(of.run_of_sums)} towards them; {found.rounds} rounds"),
        ("rounds in its budget", f"{of.rounds_in_plan_budget:,}", f"and {of.rounds_in_usual_budget:,} in a device's default"),
        ("noise in the mean", short(noise.std), f"a parameter and step, of {noise.survivors} devices' clipped sums"),
        ("its norm", short(noise.norm_in_clips), "times what one record may move one device's sum by"),
    )  # fmt: skip


def _protection(found: Explanation) -> tuple[Row, ...]:
    of = found.sums
    sizes = f"{of.smallest}" if of.smallest == of.largest else f"{of.smallest} to {of.largest}"
    drops = (
        "a round still ends with its sum"
        if of.survives
        else "more than a sum survives: rounds end without one and are tried again, at the devices' cost"
    )
    return (
        (f"survives {found.dropout:.0%} lost", "yes" if of.survives else "no", drops),
        ("sums", f"{of.shards}", f"of {sizes} devices, {of.neighbours} neighbours each"),
        ("may be lost", f"{of.lost_any}", f"of a sum, whoever; {of.lost_at_random} by chance; {of.threshold} shares open a mask"),
        ("colluders withstood", f"{of.colluders}", f"of a sum, beside the coordinator; {of.colluding_neighbours} among one's neighbours"),
    )  # fmt: skip


def title(found: Explanation) -> str:
    return f"{found.task}, {found.agents:,} devices, {found.parameters:,} parameters"


def page(found: Explanation) -> str:
    """In the look of the other pages; in English, as the command's text is."""
    costs = table(("what", ">one round", "meaning"), rows(found), label="One round")
    units = table(
        ("unit", ">value", "measured on"),
        [(what, short(value), source) for value, what, source in found.units.values()],
        label="Unit costs",
    )
    body = (
        f"<header><h1>{escape(title(found))}</h1></header><main>"
        + section("round", "What a round costs and withstands", costs)
        + section("units", "What seconds and memory are computed from", units)
        + "</main>"
    )
    return document("en", f"{title(found)} · Edgeveil", body)


def _seconds(value: float) -> str:
    """Two figures: it is computed from units that are no surer."""
    return f"{float(f'{value:.2g}'):g} s"


def _real(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
