"""What both roles must agree on: encodings, identities, messages, tasks, privacy arithmetic."""
