"""Replay: plan, workers, verification, merge."""
