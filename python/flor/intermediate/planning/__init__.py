"""Read or compute, and what is worth keeping (docs/decisions/0018-plans.md)."""
