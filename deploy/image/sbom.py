"""The bill of materials (CycloneDX 1.6) of what pip has installed: ``python -m deploy.image.sbom REPORT ...`` prints it.

pip's own reports are the source: they name each distribution with its metadata and with the hash of the very file that was
installed. The base of an image is not in it; scanners find its packages in its own databases.
"""

import datetime as dt
import json
import os
import re
import sys
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PRODUCT = "device-plugin-supervisor"

Installed = Mapping[str, Any]
"""One entry of ``install`` in an installation report of pip, version 1."""


def installed(reports: Iterable[Path]) -> list[Installed]:
    """What these reports tell of, by name."""
    entries = [entry for report in reports for entry in json.loads(report.read_text())["install"]]
    return sorted(entries, key=lambda entry: normalized(entry["metadata"]["name"]))


def normalized(name: str) -> str:
    """The name as indexes and purls write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licences(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the metadata says: an SPDX expression, else its classifiers, else a short text of its own."""
    if expression := metadata.get("license_expression"):
        return [{"expression": expression}]
    classified = [line.split(" :: ")[-1] for line in metadata.get("classifier", ()) if line.startswith("License ::")]
    own = [text for text in [metadata.get("license", "")] if text and len(text.splitlines()) == 1]
    return [{"license": {"name": name}} for name in classified or own]


def component(entry: Installed) -> dict[str, Any]:
    """One distribution. Raises ``KeyError`` where its metadata lack what every distribution has."""
    metadata = entry["metadata"]
    name, version = normalized(metadata["name"]), metadata["version"]
    purl = f"pkg:pypi/{name}@{version}"
    hashes = entry["download_info"].get("archive_info", {}).get("hashes", {})
    made = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "description": metadata.get("summary", ""),
        "hashes": [{"alg": "SHA-256", "content": hashes["sha256"]}] if "sha256" in hashes else [],
        "licenses": licences(metadata),
    }
    return {key: value for key, value in made.items() if value}


def bill(entries: Iterable[Installed], epoch: int) -> dict[str, Any]:
    """The whole document. The same distributions at the same time, in seconds since 1970, make the same one."""
    components = [component(entry) for entry in entries]
    (product,) = (each for each in components if each["name"] == PRODUCT)
    subject = {"type": "application", "bom-ref": PRODUCT, "name": PRODUCT, "version": product["version"]}
    moment = dt.datetime.fromtimestamp(epoch, dt.UTC)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([epoch, components], sort_keys=True)).urn,
        "version": 1,
        "metadata": {"timestamp": moment.isoformat().replace("+00:00", "Z"), "component": subject},
        "components": components,
    }


def text(reports: Iterable[Path]) -> str:
    """The document as it is written; its time is ``SOURCE_DATE_EPOCH``."""
    return json.dumps(bill(installed(reports), int(os.environ.get("SOURCE_DATE_EPOCH") or 0)), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text(map(Path, sys.argv[1:])))
