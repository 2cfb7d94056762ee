"""The device side: owns the data, the privacy ledger and the last word."""
