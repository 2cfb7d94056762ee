"""A model behind HTTP on this device: its server (`service`), the model it answers with (`slot`), what is taken of a
client and for how long (`limits`), where it listens (`listening`), and what it says of itself (`openapi`).
"""

__all__ = ["limits", "listening", "openapi", "service", "slot"]
