"""A model behind HTTP on this device: its server (`service`), the model it answers with (`slot`), where it listens
(`listening`) and what its requests share (`sharing`). What a client may send stands in limits.py.
"""

__all__ = ["listening", "service", "sharing", "slot"]
