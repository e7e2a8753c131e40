"""Side-by-side timings: both sides in one run, given as a ratio."""
