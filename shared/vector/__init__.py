"""The model as one vector of floats, and quantised: as the bounded integers that are masked; integer noise."""

__all__ = ["model_vector", "quantization"]
