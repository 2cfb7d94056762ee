"""The figures of a run for other tools: TensorBoard and MLflow, each an optional part of the installation."""

__all__ = ["mlflow_store", "points", "tensorboard_files"]
