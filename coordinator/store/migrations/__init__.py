"""Numbered forward migrations of state.db; `coordinator.store.database` runs them, one transaction each open."""
