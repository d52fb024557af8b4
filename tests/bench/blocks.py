"""Tables that a command writes into a page: `<!-- NAME: COMMAND -->`, the table, `<!-- /NAME -->`."""

from __future__ import annotations

import re


def filled(page: str, name: str, text: str) -> str:
    """The page with the text in its block of this name. Raises ValueError if it has none, or two."""
    block = re.compile(rf"^(<!-- {name}: [^\n]* -->\n).*?(?=^<!-- /{name} -->)", re.DOTALL | re.MULTILINE)
    page, blocks = block.subn(lambda match: f"{match[1]}{text}", page)
    if blocks != 1:
        raise ValueError(f"the page has {blocks} blocks for the table of {name}, not one")
    return page
