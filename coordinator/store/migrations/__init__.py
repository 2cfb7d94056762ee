"""Numbered forward migrations of the database; `coordinator.store.opening` runs them, one transaction each open."""
