"""Microbenchmarks beside the peers, in one run: ``python -m flor.bench --help``.

A *suite* is a module of ``suites/`` that yields *experiments*. An experiment has *subjects* (flor,
a yardstick, the peers that are installed), which are measured round by round, each in a process of
its own.
"""
