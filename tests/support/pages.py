"""The README and the pages of docs, and the commands, code and words in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
HOW_TO = [*sorted(DOCS.glob("*.md")), *sorted((DOCS / "controllers").glob("*.md"))]
RESULTS = sorted((DOCS / "results").glob("*.md"))
PAGES = [README, *HOW_TO, *RESULTS]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def spans(path: Path) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def typed(path: Path) -> list[str]:
    """Return the commands in a page's bash blocks."""
    return [
        part.strip()
        for block in blocks(path, "bash")
        for line in block.replace("\\\n", " ").splitlines()
        for part in line.split("&&")
    ]


def lines(path: Path) -> list[str]:
    """Return the commands of a page: those of its bash blocks, and code in the text."""
    return [*typed(path), *spans(path)]


def commands(start: str, pages: list[Path]) -> list[tuple[str, str]]:
    """Return (page, command) for every command that begins with `start`."""
    return [(named(page), line) for page in pages for line in lines(page) if line.startswith(start)]


def words(path: Path) -> int:
    return len(re.findall(r"\S*\w\S*", path.read_text()))


def split(line: str) -> list[str]:
    return shlex.split(line, comments=True)
