"""secagg-v1: the coordinator learns the sum of the agents' vectors and nothing else.

Sans-I/O; standard library, numpy and cryptography only. Start with README.md in this folder.
"""

__all__ = ["agreement", "client", "primitives", "server"]
