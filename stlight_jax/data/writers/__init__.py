"""Predicted frames as anybody's files: videos, pictures, arrays, netCDF."""
