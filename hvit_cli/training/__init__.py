"""Training of the aggregator and the numbers that judge it."""
