"""The built image as an upgrade replaces it: the containers of ``tests/system/test_rollout.py``, made of what is delivered."""

import importlib.metadata
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kubelet.simulator import KubeletSimulator
from tests.deploy.image import IMAGE, Store
from tests.system.container import System
from tests.system.handover_campaign import SIGNALS, distribution
from tests.system.rig import DISTRIBUTION, Puppet, assert_sound, install
from tests.system.rollout import Rollout, upgrade

pytestmark = [
    pytest.mark.checkout,
    pytest.mark.slow,
    pytest.mark.timeout(600),  # the image may have to be built first
    pytest.mark.requires("root", "namespaces", "podman", "crun", "buildah", "index", "patience"),
]

TIMES = 3


class ImageRollout(Rollout):
    """Its containers are of the image that lies unpacked beside them."""

    def system(self) -> System:
        """The image, and the plugin that the test holds."""
        installed = importlib.metadata.distribution("system-test-puppet").locate_file("")
        root = self.folder / "root"
        env = (self.folder / "env").read_text().splitlines()
        return System.of_image(root, env, [Path(str(installed)), DISTRIBUTION])


@pytest.fixture
def unpacked(store: Store, short_dir: Path) -> Path:
    """A folder with the image's files in ``root`` and its environment in ``env``."""
    archive = short_dir / "image.tar"
    container = store.podman("create", "--network=none", "--cgroups=disabled", IMAGE).strip()
    store.podman("export", "--output", str(archive), container)
    store.podman("rm", container)
    with tarfile.open(archive) as tar:
        tar.extractall(short_dir / "root", filter="fully_trusted")
    archive.unlink()
    (short_dir / "env").write_text("\n".join(store.inspect(IMAGE)["Config"]["Env"]))
    return short_dir


@pytest.fixture
def kubelet(short_dir: Path) -> Iterator[KubeletSimulator]:
    """A kubelet that knows its pods at once."""
    with KubeletSimulator(short_dir / "k", sources_delay=0.0) as simulator:
        yield simulator


@pytest.fixture
def puppet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Puppet:
    """The plugin that obeys, installed beside the image's own."""
    site, work = tmp_path / "site", tmp_path / "work"
    site.mkdir()
    work.mkdir()
    install(site)
    monkeypatch.syspath_prepend(str(DISTRIBUTION))
    monkeypatch.syspath_prepend(str(site))
    return Puppet(work)


@pytest.mark.parametrize("name", SIGNALS)
def test_the_image_is_replaced(unpacked: Path, kubelet: KubeletSimulator, puppet: Puppet, name: str) -> None:
    """From container to container under a load of pods: only those of the gaps between them are rejected."""
    with ImageRollout.open(kubelet, puppet, unpacked) as rollout:
        judgement, gaps = upgrade(rollout, TIMES, SIGNALS[name])
        print(f"{name}: {distribution(gaps)}; {judgement}")
        assert len(judgement.outages) == TIMES
        assert judgement.unexcused == []
        assert judgement.admitted > 0
        assert_sound(kubelet, rollout.ended)
