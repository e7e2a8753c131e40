"""How it is trained: the only room with torch."""

import os

# GNU OpenMP reads this once, when torch is loaded. By default its threads spin for milliseconds at the end of every
# operation; as soon as another process wants the core, a tiny network's step takes tens of times longer.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
