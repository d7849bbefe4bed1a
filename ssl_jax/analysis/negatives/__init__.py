"""Theory of negative samples from class sizes: coverage, collisions, expected draws, bounds."""
