"""What was measured: runs, verdict, diagnosis; no torch."""
