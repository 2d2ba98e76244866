"""Networks of torch: captured, computed again (docs/decisions/0017-networks.md)."""
