"""Time travel: go on from a recorded state (resume, fork) or look around in it (shell)."""
