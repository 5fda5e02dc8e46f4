"""Sizes and recipes, one file for each data set; installed as `stlight_jax.configs`."""
