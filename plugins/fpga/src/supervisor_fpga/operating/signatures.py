"""Ed25519 signatures, checked by OpenSSL's libcrypto: Python's own ``hashlib`` is made with it, so it is there."""

import base64
import binascii
import ctypes
from functools import cache

_ED25519 = 1087
"""OpenSSL's number (``EVP_PKEY_ED25519``)."""
_DER = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of a public key (RFC 8410)."""
_LIBRARIES = ("libcrypto.so.3", "libcrypto.so.1.1")


def public_key(pem: bytes) -> bytes:
    """The 32 bytes of a public key, of what ``openssl pkey -pubout`` writes. Raises ``ValueError``."""
    lines = pem.split()
    if lines[:3] != [b"-----BEGIN", b"PUBLIC", b"KEY-----"] or lines[-3:] != [b"-----END", b"PUBLIC", b"KEY-----"]:
        raise ValueError("it is no public key in PEM")
    try:
        der = base64.b64decode(b"".join(lines[3:-3]), validate=True)
    except binascii.Error as error:
        raise ValueError("it is no public key in PEM") from error
    if len(der) != len(_DER) + 32 or not der.startswith(_DER):
        raise ValueError("it is no Ed25519 key")
    return der[len(_DER) :]


def is_valid(key: bytes, signature: bytes, message: bytearray) -> bool:
    """Whether it is this key's signature of the whole message. Raises ``OSError`` where there is no library that can tell."""
    crypto = _crypto()
    pkey = crypto.EVP_PKEY_new_raw_public_key(_ED25519, None, key, len(key))
    context = crypto.EVP_MD_CTX_new()
    try:
        if not pkey or not context or crypto.EVP_DigestVerifyInit(context, None, None, None, pkey) != 1:
            raise OSError("libcrypto cannot check Ed25519 signatures")
        data = (ctypes.c_ubyte * len(message)).from_buffer(message)
        return bool(crypto.EVP_DigestVerify(context, signature, len(signature), data, len(message)) == 1)
    finally:
        crypto.EVP_MD_CTX_free(context)
        crypto.EVP_PKEY_free(pkey)


@cache
def _crypto() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            crypto = ctypes.CDLL(name)
        except OSError:
            continue
        pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
        crypto.EVP_PKEY_new_raw_public_key.argtypes = (ctypes.c_int, pointer, text, size)
        crypto.EVP_PKEY_new_raw_public_key.restype = pointer
        crypto.EVP_MD_CTX_new.restype = pointer
        crypto.EVP_DigestVerifyInit.argtypes = (pointer,) * 5
        crypto.EVP_DigestVerify.argtypes = (pointer, text, size, pointer, size)
        crypto.EVP_MD_CTX_free.argtypes = crypto.EVP_PKEY_free.argtypes = (pointer,)
        crypto.EVP_MD_CTX_free.restype = crypto.EVP_PKEY_free.restype = None
        return crypto
    raise OSError("there is no libcrypto, which checks signatures")
