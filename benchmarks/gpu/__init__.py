"""The network on an NVIDIA GPU, in visits of minutes: numbers, speed beside PyTorch, kernels, training of a published point.

See `README.md`. A bare machine needs Python, NumPy, JAX, Flax and, for the comparison, PyTorch; neither TensorFlow nor Orbax.
"""
