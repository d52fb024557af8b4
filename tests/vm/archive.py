"""An initramfs, as the kernel reads it: ``Documentation/driver-api/early-userspace/buffer-format.rst``, the "newc" form of cpio."""

from collections.abc import Iterator, Mapping

_FILE = 0o100000
_DIRECTORY = 0o040000


def archive(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """The archive of these files: path without a leading slash → content and permissions. Directories make themselves."""
    return b"".join([*_members(files), _member("TRAILER!!!", b"", 0, 0)])


def _members(files: Mapping[str, tuple[bytes, int]]) -> Iterator[bytes]:
    made: dict[str, None] = {}
    for number, (path, (content, permissions)) in enumerate(files.items(), 1):
        for at in (at for at, letter in enumerate(path) if letter == "/"):
            if path[:at] not in made:
                made[path[:at]] = None
                yield _member(path[:at], b"", _DIRECTORY | 0o755, 1_000_000 + len(made))
        yield _member(path, content, _FILE | permissions, number)


def _member(path: str, content: bytes, mode: int, inode: int) -> bytes:
    name = path.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
