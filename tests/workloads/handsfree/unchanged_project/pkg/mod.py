"""Run with -m: relative imports, what a module sees of itself."""

import sys

from . import helper
from .helper import names

print(__name__, __package__, __spec__.name, __file__, __cached__ is None)
print(sys.argv, sys.path[0], sorted(globals()))
for each in names()[:2]:
    print(each, helper.__name__, helper.__spec__.loader.name, helper.__loader__.get_filename())
