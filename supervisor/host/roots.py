"""Where this process sees the host: four directories, the way from the host's names to ours and back, and the helper."""

from msgspec import Struct


class Host(Struct, frozen=True):
    """The roots, and where a helper that may open devices listens, if there is one.

    In a pod the roots are where the host's directories are mounted; in tests, a tree of files.
    """

    sysfs: str = "/sys"
    dev: str = "/dev"
    proc: str = "/proc"
    run_udev: str = "/run/udev"
    helper_socket: str = "/run/device-plugin-supervisor/helper.sock"

    def local(self, name: str) -> str | None:
        """Where this process sees what the host calls ``name``; ``None`` outside the four directories.

        Words only: no link is followed, and a name with ``..`` is outside.
        """
        if ".." in name.split("/"):
            return None
        for theirs, ours in self._roots():
            if name == theirs or name.startswith(f"{theirs}/"):
                return ours.rstrip("/") + name[len(theirs) :]
        return None

    def name_of(self, path: str) -> str | None:
        """What the host calls ``path`` of this process: the inverse of ``local``. The deepest root that fits decides."""
        fitting = [
            (len(ours), theirs + path[len(ours.rstrip("/")) :])
            for theirs, ours in self._roots()
            if path == ours or path.startswith(f"{ours.rstrip('/')}/")
        ]
        return max(fitting)[1] if fitting else None

    def _roots(self) -> tuple[tuple[str, str], ...]:
        return (("/sys", self.sysfs), ("/dev", self.dev), ("/proc", self.proc), ("/run/udev", self.run_udev))
