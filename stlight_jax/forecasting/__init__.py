"""Forecasting: the pipeline of `stlight predict`, from input files over a plan and its forecasts to output files."""
