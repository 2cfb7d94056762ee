"""From sums to the next model: strategies, schedules, robust means, and what metrics say of it (pure)."""

__all__ = ["aggregation", "judgement", "robust", "schedules", "strategies"]
