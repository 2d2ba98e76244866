"""Pipelines over tables: their stages, run again alone (docs/decisions/0019-pipelines.md)."""
