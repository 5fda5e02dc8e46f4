"""Planning for TPU pods without one: the real programs, compiled ahead of time and read."""
