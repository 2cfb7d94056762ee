"""The installed tasks: what is trained, on which records, and how it is measured."""

__all__ = [
    "augmentation",
    "backbone",
    "batches",
    "conformance",
    "graphs",
    "lowering",
    "modules",
    "own",
    "records",
    "registry",
    "sensors",
    "spec",
]
