"""Where intermediates are kept (docs/decisions/0016-intermediates.md)."""
