"""What follows from answers leaves from here: alarms of the owner's rules, and results to a collector if the owner
says so. Everything waits on the disk until it is delivered; nothing here sees an input, its name or its path.
"""

__all__ = ["consequences", "outbox"]
