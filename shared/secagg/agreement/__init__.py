"""What both sides must agree on: context, graph, cohort, messages, shards, the result."""

__all__ = ["cohort", "context", "messages", "result", "sharding"]
