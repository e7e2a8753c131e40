"""One training and its folder, and the processes that train many side by side."""
