"""The coordinator's adapter to Flower, private modules included; nothing else here imports flwr."""

from coordinator.flower_runtime.runtime import FlowerRuntime

__all__ = ["FlowerRuntime"]
