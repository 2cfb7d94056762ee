"""A run outside its rounds: opened, its models on disk, its learner, its held-out evaluation."""

__all__ = [
    "checkpoint",
    "evaluation",
    "galleries",
    "initial",
    "learner",
    "open_run",
    "run_files",
    "runs",
]
