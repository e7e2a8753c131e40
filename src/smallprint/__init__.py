"""The smallest network that keeps its promise."""

__version__ = "0.1.0"
