"""The code in the documentation runs. A fenced block says what it is; one that says nothing fails.

    ```python file=NAME                    written to NAME
    ```python edit=NAME after="LINE"       inserted into NAME after LINE, with its margin
    ```python run      ```sh run exit=3    executed; the exit code must be that (0 unless said)
    ```TEXT skip="why"                     neither

The blocks of a page run in order in one folder of their own.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from oracle import environment

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks/README.md"]


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    told: dict[str, str]
    code: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    found = re.finditer(r"^```([^\n]*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    made = []
    for match in found:
        language, *words = shlex.split(match[1]) or [""]
        told = dict(word.partition("=")[::2] for word in words)
        line = page.read_text()[: match.start()].count("\n") + 1
        made.append(Block(page, line, language, told, match[2]))
    return made


def edit(file: Path, anchor: str, code: str) -> None:
    lines = file.read_text().splitlines(keepends=True)
    rows = [row for row, line in enumerate(lines) if line.strip() == anchor]
    assert len(rows) == 1, f"{len(rows)} lines of {file.name} read {anchor!r}"
    margin = re.match(r"\s*", lines[rows[0]])[0]
    added = [margin + line for line in code.splitlines(keepends=True)]
    file.write_text("".join([*lines[: rows[0] + 1], *added, *lines[rows[0] + 1 :]]))


def execute(block: Block, folder: Path) -> None:
    command = {
        "python": [sys.executable, "-"],
        "sh": ["bash", "-euo", "pipefail", "-s"],
    }[block.language]
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    done = subprocess.run(
        command,
        input=block.code,
        cwd=folder,
        env=environment(folder / ".flor", PATH=path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    wanted = int(block.told.get("exit", "0"))
    assert done.returncode == wanted, (
        f"{block.place}: exit code {done.returncode}, expected {wanted}\n"
        f"{block.code}--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path):
    for block in blocks(page):
        kinds = {"file", "edit", "run", "skip"} & block.told.keys()
        assert len(kinds) == 1, f"{block.place}: say one of file=, edit=, run, skip="
        if "file" in kinds:
            (tmp_path / block.told["file"]).write_text(block.code)
        elif "edit" in kinds:
            edit(tmp_path / block.told["edit"], block.told["after"], block.code)
        elif "run" in kinds:
            execute(block, tmp_path)
        else:
            assert block.told["skip"], f"{block.place}: skip needs a reason"


def links(page: Path) -> Iterator[tuple[str, Path]]:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            yield target, page.parent / target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    missing = [target for target, path in links(page) if not path.exists()]
    assert not missing


def test_the_pages_with_code_are_found():
    assert sum(len(blocks(page)) for page in PAGES) > 10
