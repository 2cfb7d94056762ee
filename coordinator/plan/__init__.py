"""What an operator writes: coordinator.toml, plan.toml, and what follows from a plan (σ, ring, cohort)."""

__all__ = [
    "cohort",
    "config",
    "derived",
    "evaluation",
    "first",
    "first_text",
    "measured",
    "plan",
    "plan_file",
    "sections",
]
