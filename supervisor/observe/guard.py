"""Who may see more than the verdict of the probes: who shows one of the tokens, or a certificate."""

import hmac
import re
from http import HTTPStatus

from supervisor.config import AuthConfig
from supervisor.events import Observer
from supervisor.observe.exchange import Response
from supervisor.observe.rotation import Rotated, read_small

MOST_TOKENS = 128

_TOKEN = re.compile(rb"[!-~]+")
_BEARER = re.compile(rb"bearer +(?P<token>[!-~]+) *", re.IGNORECASE)


class Guard:
    """Judges requests. Without an ``auth`` it lets everyone see everything."""

    def __init__(self, auth: AuthConfig | None, observe: Observer) -> None:
        self._auth = auth
        self._tokens: Rotated[tuple[bytes, ...]] | None = None
        if auth is not None and (path := auth.bearer_token_file) is not None:
            self._tokens = Rotated("token file", (path,), lambda: tokens(path, read_small(path)), observe, keep=False)

    async def prepare(self) -> None:
        """Read the tokens for the first time."""
        if self._tokens is not None:
            await self._tokens.newest()

    async def admits(self, authorization: bytes, *, certified: bool) -> bool:
        """Whether this ``Authorization`` header, or a certificate that was verified, is enough."""
        if self._auth is None or (certified and self._auth.client_ca_file is not None):
            return True
        shown = _BEARER.fullmatch(authorization)
        if self._tokens is None or shown is None:
            return False
        known = await self._tokens.newest() or ()
        # All are compared: the time must not tell which one it is.
        return sum(hmac.compare_digest(shown["token"], token) for token in known) > 0

    def refusal(self) -> Response:
        """What others hear: 401 where a token would help, 403 where only a certificate would."""
        if self._tokens is None:
            return Response(HTTPStatus.FORBIDDEN, b"forbidden: show a certificate of a known authority\n")
        challenge = ("WWW-Authenticate", 'Bearer realm="device-plugin-supervisor"')
        return Response(HTTPStatus.UNAUTHORIZED, b"unauthorized: show a bearer token\n", headers=(challenge,))


def tokens(path: str, data: bytes) -> tuple[bytes, ...]:
    """The tokens of a file, one a line. Raises ``ValueError``, which names none of them."""
    lines = [(number, line.strip()) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path}: holds no token")
    if len(lines) > MOST_TOKENS:
        raise ValueError(f"{path}: holds more than {MOST_TOKENS} tokens")
    for number, line in lines:
        if not _TOKEN.fullmatch(line):
            raise ValueError(f"{path}: line {number} is no token: one word of visible ASCII characters")
    return tuple(line for _, line in lines)
