"""A process that a launcher has started: ``python -m flor.recording.rank_main PROGRAM [ARGS…]``.

PROGRAM is a script or ``-m MODULE``, run as Python would run it, and recorded as a rank.
"""

from __future__ import annotations

import sys

from flor.errors import InvalidError
from flor.recording import hash_seed
from flor.recording.launch import Program, leave, record_program
from flor.recording.rank import Handover, RankSession


def main(arguments: list[str]) -> int:
    """Run and record the program; return its exit code."""
    hash_seed.claim()
    told = Handover.claim()
    try:
        if arguments[0] == "-m":
            program = Program.of_module(arguments[1], arguments[2:])
        else:
            program = Program.of_script(arguments[0], arguments[1:])
    except InvalidError as error:
        print(f"flor: {error}", file=sys.stderr)
        return 2
    assert told is not None, "started by a launcher under flor record, never by hand"
    return record_program(program, lambda root: RankSession.join(told, root))


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
