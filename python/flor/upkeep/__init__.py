"""Care of a store: what refers to what, damage and its repair, what may go, where the bytes are."""
