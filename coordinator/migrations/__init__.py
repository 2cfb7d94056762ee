"""Numbered forward migrations of state.db; `coordinator.database` runs them, one transaction each open."""
