"""What runs, as it is watched in a terminal or kept in a log."""
