"""The status page at ``/``: what this node offers, for a person who looks once.

Drawn on the server by plain functions: ``marks`` (text, moments, numbers), ``selection`` (what the reader asked for), ``devices``,
``resources`` and ``sections`` (the parts), ``document`` (the whole). The script of the page asks for the same document again and
takes over what has changed; without it the page reloads. Nothing here is asked of any other host.
"""

from supervisor.observe.page.answers import ASSETS, asset, show
from supervisor.observe.page.document import draw, tag

__all__ = ["ASSETS", "asset", "draw", "show", "tag"]
