"""The sections that both sides' privacy reports share: what each holds, and how its page shows it.

A side adds what it alone knows (`more`, `rows`) and says what is its own view.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from edgeveil.shared.base.installed import software
from edgeveil.shared.privacy.rdp import HIGHEST_ORDER, LOWEST_ORDER
from edgeveil.shared.privacy.report import page, words

Block = Mapping[str, Any]
Rows = Sequence[tuple[str, str]]


def privacy_unit(unit: str, **more: Any) -> dict[str, Any]:
    return {
        "unit": unit,
        "neighbours": words.NEIGHBOURS,
        "records_per_person": "not limited",
        "person_level": words.PERSON_LEVEL,
        **more,
        "treated_as_public": words.PUBLIC,
    }


def listed(title: str, *rows: tuple[str, str], intro: str = "") -> page.Section:
    """A section of names and values."""
    return page.Section(title, intro, rows)


def protected(unit: Block, intro: str = "", rows: Rows = ()) -> page.Section:
    return listed(
        "What is protected",
        ("Unit", f"one {unit['unit']}: {unit['neighbours']}"),
        ("One person's records", f"{unit['records_per_person']}; {unit['person_level']}"),
        *rows,
        ("Taken to be public", unit["treated_as_public"]),
        intro=intro,
    )


def trust_model(
    seen: str,
    how: Block,
    *,
    n_min: int,
    threshold: int | None,
    colluders: int,
    sigma: int,
    **more: Any,
) -> dict[str, Any]:
    """`seen`: what else the coordinator sees; `how` sums are made, the smallest of `n_min` devices.

    `threshold` shares open a mask in it, where that is known.
    """
    return {
        "coordinator_sees": f"the sum of at least {n_min} devices' updates, each update hidden in it, "
        f"who takes part{seen}",
        "other_agents_see": "the new model of each round",
        "users_of_the_model_see": "the model; what they do with it costs no further budget",
        "secure_aggregation": {
            **how,
            "n_min": n_min,
            "threshold": threshold,
            "assumed_colluders": colluders,
            "honest_floor": n_min - colluders,
            "statistical_bits": sigma,
        },
        "secagg_lowers_epsilon": False,
        **more,
    }


def who_sees_what(trust: Block, how: str) -> page.Section:
    told = words.hiding(trust["secure_aggregation"])
    return listed(
        "Who sees what",
        ("The coordinator", trust["coordinator_sees"]),
        ("Other devices", trust["other_agents_see"]),
        ("Users of the model", trust["users_of_the_model_see"]),
        ("Secure aggregation", f"{how}; {told}"),
    )


def accounting(composition: str, **more: Any) -> dict[str, Any]:
    return {
        "accountant": "Rényi divergence at integer orders, closed form",
        "version": software(),
        "composition": composition,
        "orders": [LOWEST_ORDER, HIGHEST_ORDER],
        **more,
    }


def accounted(block: Block, *rows: tuple[str, str]) -> page.Section:
    return listed(
        "Accounting",
        ("Accountant", f"{block['accountant']}, {block['version']}"),
        ("Composition", block["composition"]),
        ("Orders", f"{block['orders'][0]} to {block['orders'][1]}"),
        *rows,
    )


def gaps(items: Sequence[str]) -> page.Section:
    return page.Section("What is NOT covered", items=items, warning=True)


def figure(value: float | None, form: str = ".6g") -> str:
    """A dash where there is none."""
    return "–" if value is None else format(value, form)
