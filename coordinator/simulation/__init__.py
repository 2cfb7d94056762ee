"""`coordinator simulate`: a plan on devices that are made up, in this machine's processes or on a Ray cluster.

`running` puts it together; `transport` is one more coordinator.machine.transport.Transport, over `workers` or
`ray_workers`; `enrolment` makes the devices, `partition` and `units` their data; `forecast` says what real ones take.
"""

__all__ = ["forecast", "running", "settings"]
