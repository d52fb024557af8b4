"""A third party: a plugin of theirs in an image of theirs, made of ours."""

import zipfile
from pathlib import Path

from supervisor import scaffold
from tests.deploy.image import IMAGE, Store


def third_party(store: Store, folder: Path, tag: str, dependencies: str = "") -> None:
    """Build the image that the files of ``new-plugin`` describe; ``folder/wheels`` has what the index has beside our own."""
    scaffold.write(folder / "gizmo", scaffold.files(scaffold.Project("acme-gizmo", "acme.example/gizmo")))
    project = folder / "gizmo/pyproject.toml"
    project.write_text(project.read_text().replace("dependencies = [", f"dependencies = [{dependencies}", 1))
    (folder / "wheels").mkdir(exist_ok=True)
    (folder / "pip.conf").write_text("[global]\nno-index = true\nfind-links =\n    /wheelhouse\n    /wheels\n")
    mounts = {
        store.context / "build/wheelhouse": "/wheelhouse",
        folder / "wheels": "/wheels",
        folder / "pip.conf": "/etc/pip.conf",
    }
    volumes = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
    store.build(tag, {"SUPERVISOR_IMAGE": IMAGE}, *volumes, context=folder / "gizmo")


def write_wheel(folder: Path, name: str, version: str) -> None:
    """A distribution with nothing in it."""
    folder.mkdir()
    info = f"{name}-{version}.dist-info"
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(f"{info}/{file}", text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{info}/{file},,\n" for file in (*files, "RECORD")))
