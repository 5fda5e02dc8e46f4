"""The data sets: one file for each, with its names, its config keys, its files and its published results."""
