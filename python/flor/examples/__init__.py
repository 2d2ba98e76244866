"""Example programs that `flor demo` and the tests run; plain scripts, not modules to import."""
