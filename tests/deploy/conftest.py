"""The image, built once for the tests of a process."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.image import Store, built
from tests.machine import need


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """A store of images with that of this checkout in it."""
    need("root", "namespaces", "buildah", "podman", "crun", "index")
    with tempfile.TemporaryDirectory(prefix="dps-image-", dir="/var/tmp") as folder:
        yield built(Path(folder))
