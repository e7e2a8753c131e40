"""The commands of the terminal, each a function of its arguments and options."""
