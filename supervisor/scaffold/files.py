"""The files of a new distribution, each from its template; the same project always gives the same texts."""

import re
from importlib.resources import files as resources

from supervisor.scaffold.project import Project

TEMPLATES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "Containerfile": "Containerfile",
    ".gitignore": "gitignore",
    "src/@package@/__init__.py": "init.py",
    "src/@package@/config.py": "config.py",
    "src/@package@/plugin.py": "plugin.py",
    "src/@package@/py.typed": "py.typed",
    "tests/conftest.py": "conftest.py",
    "tests/machine.py": "machine.py",
    "tests/test_plugin.py": "test_plugin.py",
}
"""For each file its template in ``templates``, where the names end in ``.in`` so that no tool takes them for what they become."""

_WORD = re.compile(r"@([a-z]+)@")


def files(project: Project) -> dict[str, str]:
    """The text of each file by its path, which is relative and has slashes."""
    folder = resources(__package__) / "templates"
    words = project.words
    return {
        _filled(path, words): _filled((folder / f"{template}.in").read_text(encoding="utf-8"), words)
        for path, template in TEMPLATES.items()
    }


def _filled(text: str, words: dict[str, str]) -> str:
    """``@word@`` is replaced; a word that nobody knows is a mistake in a template and raises ``KeyError``."""
    return _WORD.sub(lambda found: words[found[1]], text)
