"""Frames from anybody's files: videos, pictures, arrays, netCDF."""
