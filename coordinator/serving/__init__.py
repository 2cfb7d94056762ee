"""`coordinator serve`: composition root, run execution, the operator's door, the roster's keeper, backups."""

__all__ = ["admin_client", "backup", "execution", "moving", "serve", "signer", "status"]
