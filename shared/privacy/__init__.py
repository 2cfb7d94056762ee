"""Privacy accounting and the ledger's format: numpy and the standard library, never torch."""
