"""The sections that both sides' privacy reports share: what each holds, and how its page shows it.

A side adds what it alone knows (`more`, `rows`) and says what is its own view.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeveil.shared.base.installed import software
from edgeveil.shared.pages.words import Language
from edgeveil.shared.privacy.rdp import HIGHEST_ORDER, LOWEST_ORDER
from edgeveil.shared.privacy.report import page
from edgeveil.shared.privacy.report.words import SAID, Words, hiding

Block = Mapping[str, Any]
Rows = Sequence[tuple[str, str]]


def privacy_unit(unit: str, *, whole: bool = False, **more: Any) -> dict[str, Any]:
    """`whole`: every charge hid the whole update of its device, so that ε is that of all its records together."""
    return {
        "unit": unit,
        "neighbours": SAID("said_any_data" if whole else "said_neighbours"),
        "records_per_person": SAID("said_not_limited"),
        "person_level": SAID("said_person_whole" if whole else "said_person_level"),
        **more,
        "treated_as_public": SAID("said_public"),
    }


def listed(title: str, *rows: tuple[str, str], intro: str = "") -> page.Section:
    """A section of names and values."""
    return page.Section(title, intro, rows)


def protected(unit: Block, language: Language, intro: str = "", rows: Rows = ()) -> page.Section:
    words = Words(language)
    said = {key: words.again(str(value)) for key, value in unit.items()}
    return listed(
        words("protected"),
        (words("record_unit"), words("unit_row", unit=said["unit"], neighbours=said["neighbours"])),
        (words("persons_records"), f"{said['records_per_person']}; {said['person_level']}"),
        *rows,
        (words("public"), said["treated_as_public"]),
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
        "coordinator_sees": SAID("said_coordinator_sees", n=n_min, seen=seen),
        "other_agents_see": SAID("said_agents_see"),
        "users_of_the_model_see": SAID("said_users_see"),
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


def who_sees_what(trust: Block, language: Language, how: str) -> page.Section:
    words = Words(language)
    told = hiding(trust["secure_aggregation"], words)
    return listed(
        words("who_sees_what"),
        (words("the_coordinator"), words.again(trust["coordinator_sees"])),
        (words("other_devices"), words.again(trust["other_agents_see"])),
        (words("users_of_the_model"), words.again(trust["users_of_the_model_see"])),
        (words("secure_aggregation"), f"{how}; {told}"),
    )


def accounting(composition: str, **more: Any) -> dict[str, Any]:
    return {
        "accountant": SAID("said_accountant"),
        "version": software(),
        "composition": composition,
        "orders": [LOWEST_ORDER, HIGHEST_ORDER],
        **more,
    }


def accounted(block: Block, language: Language, *rows: tuple[str, str]) -> page.Section:
    """The first of the rows is how rounds add up, in the words of the side."""
    words = Words(language)
    first, last = block["orders"]
    return listed(
        words("accounting"),
        (words("accountant"), f"{words.again(block['accountant'])}, {block['version']}"),
        *rows[:1],
        (words("orders"), words("from_to", first=first, last=last)),
        *rows[1:],
    )


def gaps(items: Sequence[str], language: Language, again: Callable[[str], str]) -> page.Section:
    """`again` says in the page's language what only this side can leave uncovered."""
    words = Words(language)
    shown = [again(words.again(item)) for item in items]
    return page.Section(words("not_covered"), items=shown, warning=True)


def figure(value: float | None, form: str = ".6g") -> str:
    """A dash where there is none."""
    return "–" if value is None else format(value, form)
