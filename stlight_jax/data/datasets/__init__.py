"""The data sets: one file for each, with all that is known of it."""
