"""The search: what it makes small, what it draws, and who goes on; no torch."""
