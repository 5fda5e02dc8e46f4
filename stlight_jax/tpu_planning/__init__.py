"""Plans for TPU slices without a TPU: the real programs, compiled ahead of time, and their memory, work and traffic."""
