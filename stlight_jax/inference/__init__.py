"""Inference: trained networks, wherever they are stored, and the ways to run them on frames."""
