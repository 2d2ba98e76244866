"""The command ``flor``: its verbs, and what an error looks like."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from flor.errors import CorruptError, FlorError

USAGE, DAMAGED = 2, 4
_VERBS = (
    "record",
    "replay",
    "resume",
    "fork",
    "shell",
    "runs",
    "show",
    "checkpoints",
    "logs",
    "sql",
    "export",
    "fsck",
    "gc",
    "stats",
    "demo",
)


class Verbs(click.Group):
    """The verbs, each imported when it is used; errors of flor are one message, no traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the verbs, as the help shows them."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a verb, None for what is no verb."""
        if cmd_name not in _VERBS:
            return None
        command = getattr(importlib.import_module(f"flor.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; exits 2 for an error of flor, 4 where the store is damaged."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except FlorError as error:
            click.echo(f"flor: {error}", err=True)
            if not isinstance(error, CorruptError):
                ctx.exit(USAGE)
            click.echo(
                "the store is damaged: flor fsck says where and what depends on it", err=True
            )
            ctx.exit(DAMAGED)
        except BrokenPipeError:  # the reader of our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flor", prog_name="flor")
def main() -> None:
    """Record training runs, ask them questions afterwards, get the exact answer.

    \b
    flor record train.py          run a script under recording
    flor replay                   run today's source against the latest run
    flor logs                     what was logged, and what replays added
    """
