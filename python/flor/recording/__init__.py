"""Recording: runs, loops, logged values, and checkpoints under an overhead bound."""
