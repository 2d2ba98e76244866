"""Versions of a program's source, and propagation of added statements across them."""
