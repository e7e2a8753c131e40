"""What is asked: contract, network, recipe, ladder; no torch."""
