"""What an operator writes: coordinator.toml, plan.toml, and what follows from a plan (σ, ring, cohort)."""

__all__ = [
    "cohort",
    "config",
    "derived",
    "evaluation",
    "first",
    "first_shared",
    "first_text",
    "plan",
    "plan_file",
    "sections",
]
