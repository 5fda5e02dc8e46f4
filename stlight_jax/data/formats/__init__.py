"""File formats of frames: one module for each, with its reader and its writer, and their list."""
