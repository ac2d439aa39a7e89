"""The pages keep their word: links lead somewhere, and command lines can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from hvit_cli.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
SCRIPTS = sorted(ROOT.glob("examples/**/*.sh"))
GROUP: Any = typer.main.get_command(app)

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Anchors that a reader's browser makes of headings."""
    kept = (
        re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(page.read_text())
    )
    return {heading.strip().replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    lost = []
    for link in _LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words after `hvit` of every command line in a page's shell blocks, or in a script."""
    text = page.read_text()
    for block in [text] if page.suffix == ".sh" else _BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for part in _split(words, ("&&", "||", "|", ";", "do", "then")):
                names = [Path(word).name for word in part]
                if "hvit_cli" in names:
                    yield part[names.index("hvit_cli") + 1 :]
                elif names[:1] == ["hvit"]:
                    yield part[1:]


def _split(words: list[str], at: tuple[str, ...]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in words:
        if word in at:
            yield part
            part = []
        else:
            part.append(word.rstrip(";"))
    yield part


TYPED = [(page, words) for page in [*PAGES, *SCRIPTS] for words in command_lines(page)]


@pytest.mark.parametrize(
    ("page", "words"), TYPED, ids=[f"{page_id(page)}: hvit {' '.join(w)}" for page, w in TYPED]
)
def test_every_command_line_is_understood(page: Path, words: list[str]) -> None:
    """The command exists, has these options, and takes these values; nothing is run."""
    if words in (["--help"], ["--version"]):
        return
    assert words and words[0] in GROUP.commands, f"hvit {' '.join(words[:1])} does not exist"
    if words[1:] == ["--help"]:
        return
    # Variables of the shell stand for values that only a run can know.
    given = [re.sub(r"\$\{?\w+\}?", "0", word) for word in words]
    with GROUP.make_context("hvit", given) as parent:
        name, command, arguments = GROUP.resolve_command(parent, given)
        command.make_context(name, arguments, parent=parent)


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    assert not [name for name in GROUP.commands if f"`hvit {name}`" not in text]


def test_an_option_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option: --no-such-option"):
        GROUP.commands["info"].make_context("info", [".", "--no-such-option"])
