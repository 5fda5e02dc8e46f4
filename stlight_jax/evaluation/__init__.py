"""The streaming evaluation of a network, and of baselines, over a data set."""
