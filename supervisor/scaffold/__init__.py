"""A new plugin package, written for its author: a small distribution that is complete, typed and tested from the first minute.

Names make a ``Project``, a project makes ``files``, and ``write`` puts them where nothing is yet. Only ``write`` touches the disk.
"""

from supervisor.scaffold.files import files
from supervisor.scaffold.project import Project, name_problem
from supervisor.scaffold.writing import WouldOverwrite, write

__all__ = ["Project", "WouldOverwrite", "files", "name_problem", "write"]
