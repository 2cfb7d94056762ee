"""The model as one vector of floats, and quantised: as the bounded integers that are masked; integer noise."""

__all__ = ["integer_noise", "model_vector", "quantization"]
