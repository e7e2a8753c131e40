"""How it is trained: the only room with torch."""
