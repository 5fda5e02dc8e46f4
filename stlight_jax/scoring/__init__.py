"""The pipelines of `evaluate` and `score`: evaluation in; tables, pictures and page out."""
