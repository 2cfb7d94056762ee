"""What the demo shows at its end: a line for each round, and what each ledger has charged."""

from typing import Any

from demo_tasks import DemoTask
from rich.table import Table

from edgeveil.shared.pages.text import human_bytes
from edgeveil.shared.terminal.console import table


def rounds_table(
    report: dict[str, Any], budgets: dict[str, dict[str, Any]], task: DemoTask
) -> Table:
    made = table(
        "Rounds",
        ">round",
        ">participants",
        f">{task.called}",
        ">ε spent",
        ">seconds",
        ">up",
        ">down",
    )
    for row in report["rounds"]:
        if row["outcome"] != "committed":
            made.add_row(
                str(row["round"]), "aborted", row["reason"], "", f"{row['seconds']:.1f}", "", ""
            )
            continue
        spent = [
            after["epsilon_spent"]
            for found in budgets.values()
            for after in found["after_rounds"]
            if after["round"] <= row["round"]
        ]
        made.add_row(
            str(row["round"]),
            f"{len(row['survived'])} of {len(row['selected'])}",
            f"{row['metrics'][task.metric]:{task.form}}",
            f"{max(spent, default=0):.3f}",
            f"{row['seconds']:.1f}",
            human_bytes(row["bytes_up"]),
            human_bytes(row["bytes_down"]),
        )
    return made


def agents_table(budgets: dict[str, dict[str, Any]]) -> Table:
    made = table(
        "What each agent's own ledger has charged", "agent", ">ε spent", ">ε limit", ">δ", ">rounds"
    )
    for name, found in budgets.items():
        made.add_row(
            name,
            f"{found['epsilon_spent']:.3f}",
            f"{found['epsilon_limit']:g}",
            f"{found['delta']:g}",
            str(found["rounds"]),
        )
    return made
