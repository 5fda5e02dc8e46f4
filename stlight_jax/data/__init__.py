"""Data: from files to batches of sequences."""
