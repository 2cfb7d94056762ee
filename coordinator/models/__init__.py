"""What runs have learned, as files that go elsewhere: listed, packaged and signed."""

__all__ = ["conforming", "evaluating", "export", "listing", "mobile", "publishing", "verify"]
