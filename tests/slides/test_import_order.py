"""Importing torch before OpenSlide has been reported to change what OpenSlide detects."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import sys
for name in sys.argv[2:]:
    __import__(name)
import json
from pathlib import Path
from hvit_cli.slides.manifest import find_slides
from hvit_cli.slides.reader import open_slide
found = {}
for entry in find_slides([Path(sys.argv[1])]):
    with open_slide(entry.path, require_spacing=False) as slide:
        pixels = int(slide.thumbnail(64).sum())
        spacing_um = slide.spacing.spacing_um
        found[entry.slide_id] = [slide.vendor, spacing_um, slide.geometry.sizes, pixels]
print(json.dumps(found))
"""


def _what_slides_are(folder: Path, *imports: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, folder, *imports],
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_slides_are_the_same_whatever_was_imported_first(data: Path) -> None:
    before = _what_slides_are(data / "slides", "hvit_cli.slides.reader", "torch")
    after = _what_slides_are(data / "slides", "torch", "hvit_cli.slides.reader")
    assert len(before) == 12
    assert before == after


def test_the_reader_loads_neither_torch_nor_timm() -> None:
    program = (
        "import sys, hvit_cli.slides.reader, hvit_cli.slides.manifest\n"
        "print({'torch', 'timm', 'typer', 'rich'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
