"""The gallery runs as a newcomer runs it, and its pictures are there."""

import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest
from oracle import environment

import flor.examples

GALLERY = Path(flor.examples.__file__).with_name("gallery.py")


def test_the_gallery_answers_its_five_questions(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    done = subprocess.run(
        [sys.executable, str(GALLERY), str(tmp_path / "pictures")],
        cwd=tmp_path,
        env=environment(tmp_path / ".flor"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pictures = sorted((tmp_path / "pictures").glob("*.png"))
    assert [one.name[0] for one in pictures] == list("12345")
    for one in pictures:
        assert matplotlib.image.imread(one).std() > 0.01, f"{one.name} is blank"
    assert "predicted" in done.stdout and "why" in done.stdout
