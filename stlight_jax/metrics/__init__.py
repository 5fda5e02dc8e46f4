"""The metrics of predicted frames, each one object, and baselines that need the input frames only."""
