"""A run outside its rounds: opened, its models on disk, its learner, its held-out evaluation."""

__all__ = ["initial", "learner", "open_run", "run_files", "runs"]
