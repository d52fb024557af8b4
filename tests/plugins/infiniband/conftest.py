"""Machines lie in memory."""

from tests.bed.scratch import tmp_path

__all__ = ["tmp_path"]
