"""Source analysis: loops, differences between two versions, where added statements may run."""
