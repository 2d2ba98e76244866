"""``flor record``."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click

from flor.cli.options import parse_setting, store_option
from flor.sizes import parse_bytes


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.option(
    "--overhead",
    type=float,
    callback=lambda _context, _option, bound: _bound(bound),
    default=None,
    show_default="the script's, else 1/15, and little of it used",
    help="The most that recording may add to the run's time, a fraction; inf: no bound.",
)
@click.option("--set", "settings", multiple=True, metavar="K=V", help="The value of flor.arg K.")
@click.option("--strict", is_flag=True, help="An error in the background stops the script.")
@click.option(
    "--files-budget",
    callback=lambda _context, _option, text: _bytes(text),
    metavar="SIZE",
    show_default="FLOR_FILES_BUDGET, else 256M",
    help="The most to keep of files that the script found and changes, so that replay has them.",
)
@click.option("-m", "module", metavar="MODULE", help="Run a module, as python -m does.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="SCRIPT [ARGS]...")
@store_option
def record(
    overhead: float | None,
    settings: tuple[str, ...],
    strict: bool,
    files_budget: int | None,
    module: str | None,
    command: tuple[str, ...],
    store: Path | None,
) -> None:
    """Run SCRIPT under recording; exits with the script's own code.

    What follows SCRIPT (or MODULE) is the script's, untouched.

    \b
    Examples: flor record train.py --epochs 5
              flor record --set lr=0.01 -m mypackage.train
    """
    from flor.recording import hash_seed

    hash_seed.pin()  # where options stand before the verb

    from flor.recording.launch import record_script

    if module is None and not command:
        raise click.UsageError("give a SCRIPT, or -m MODULE")
    chosen = dict(parse_setting(text) for text in settings)
    script, arguments = (None, command) if module else (command[0], command[1:])
    sys.exit(
        record_script(
            script,
            list(arguments),
            module=module,
            store=store,
            overhead=overhead,
            settings=chosen,
            strict=strict,
            files_budget=files_budget,
        )
    )


def _bound(bound: float | None) -> float | None:
    if bound is None or 0 < bound <= 1 or bound == math.inf:
        return bound
    raise click.BadParameter(f"{bound} is neither above 0 and at most 1, nor inf")


def _bytes(text: str | None) -> int | None:
    found = None if text is None else parse_bytes(text)
    if text is not None and found is None:
        raise click.BadParameter(f"{text!r} is not a number of bytes; write for example 50M or 2G")
    return found
