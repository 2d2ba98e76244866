"""A source file, parsed."""

from __future__ import annotations

import ast
import tokenize
from dataclasses import dataclass

from flor.errors import SourceError


@dataclass(frozen=True)
class Source:
    """One file of a program: where it is, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    def line(self, number: int) -> str:
        """Return line ``number`` (from 1) without its margins, "" beyond the end."""
        lines = self.text.splitlines()
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def read_source(path: str, text: str | None = None) -> Source:
    """Parse ``text``, or the file ``path``; raises SourceError that names the file and the line."""
    if text is None:
        text = _read(path)
    try:
        return Source(path, text, ast.parse(text, filename=path))
    except SyntaxError as cause:
        shown = f": {cause.text.strip()!r}" if cause.text else ""
        where = f"{path}, line {cause.lineno or 1}"
        raise _error(path, f"{where} does not parse: {cause.msg}{shown}; correct it") from cause
    except (ValueError, RecursionError, MemoryError) as cause:
        raise _error(path, f"{path}, line 1 does not parse: {cause}; correct the file") from cause


def _read(path: str) -> str:
    try:
        with tokenize.open(path) as file:  # honours a coding comment
            return file.read()
    except OSError as cause:
        why = cause.strerror or cause
        message = f"can't read the source {path}: {why}; put it back, or name another"
        raise _error(path, message) from cause
    except (SyntaxError, UnicodeDecodeError) as cause:
        message = f"{path}, line 1 does not parse: {cause}; save the file as UTF-8"
        raise _error(path, message) from cause


def _error(path: str, message: str) -> SourceError:
    error = SourceError(message)
    error.path = path
    return error
