"""Rejects secrets that can be guessed: placeholders of examples, and default passwords of servers."""

from __future__ import annotations

import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

_PLACEHOLDER = re.compile(r"change.?(me|it|this)|insecure|your.?(secret|key|password)|placeholder", re.IGNORECASE)
_DEFAULTS = frozenset({"admin", "guest", "password", "postgres", "rabbitmq", "redis", "secret", "taskdaemon"})

#: Every API key begins with it, so that people and scanners for leaked secrets recognize one.
KEY_MARK = "tpk_"
MAX_KEY_CHARACTERS = 200
#: A key or signing key with fewer different characters counts as a placeholder.
MIN_DIFFERENT_CHARACTERS = 8

#: Every secret that signs callbacks begins with it, as Standard Webhooks say; base64 of so many bytes follows.
SIGNING_MARK = "whsec_"
MIN_SIGNING_BYTES, MAX_SIGNING_BYTES = 24, 64


def new_signing_secret() -> str:
    """A secret that signs callbacks: `whsec_` and base64."""
    return SIGNING_MARK + b64encode(secrets.token_bytes(32)).decode()


def signing_key(secret: str) -> bytes:
    """The bytes of a secret that signs callbacks, with or without its padding. Raises ValueError if it is no base64."""
    text = secret.removeprefix(SIGNING_MARK)
    return b64decode(text if text.endswith("=") else text + "=" * (-len(text) % 4), validate=True)


def signing_fault(secret: str) -> str | None:
    """Why this text is not a secret that signs callbacks, or None."""
    try:
        key = signing_key(secret)
    except ValueError:
        key = b""
    sized, varied = MIN_SIGNING_BYTES <= len(key) <= MAX_SIGNING_BYTES, len(set(key)) >= MIN_DIFFERENT_CHARACTERS
    if secret.startswith(SIGNING_MARK) and sized and varied:
        return None
    return (
        f"a secret that signs callbacks is {SIGNING_MARK} and base64 of {MIN_SIGNING_BYTES} to {MAX_SIGNING_BYTES} "
        'random bytes (printf "whsec_%s\\n" "$(head -c 32 /dev/urandom | base64)" makes one)'
    )


def key_fault(key: str) -> str | None:
    """Why this text is not a valid API key, or None."""
    secret = key.removeprefix(KEY_MARK)
    longest = MAX_KEY_CHARACTERS - len(KEY_MARK)
    if (
        secret != key
        and 40 <= len(secret) <= longest
        and key.isascii()
        and len(set(secret)) >= MIN_DIFFERENT_CHARACTERS
    ):
        return None
    return f"a key begins with {KEY_MARK} and has 40 to {longest} random characters after it (bin/env makes one)"


def placeholders(secrets: Mapping[str, str | None]) -> list[str]:
    """A fault for each variable whose secret is a placeholder."""
    return [
        f"{name}: is a placeholder; set random characters (bin/env generates them)"
        for name, secret in secrets.items()
        if secret and (_PLACEHOLDER.search(secret) or len(set(secret)) < _min_different(name))
    ]


def key_faults(name: str, key: str | None) -> list[str]:
    """A fault if the variable's API key is a placeholder or not a valid key."""
    fault = key_fault(key) if key else None
    return placeholders({name: key}) or ([f"{name}: {fault}"] if fault else [])


def _min_different(name: str) -> int:
    return MIN_DIFFERENT_CHARACTERS if name.startswith("DAEMON_SECRET_KEY") else 0


def default_passwords(urls: Mapping[str, str | None]) -> list[str]:
    """A fault for each variable whose URL has a server's default password or a placeholder."""
    passwords = {name: unquote(urlsplit(url or "").password or "") for name, url in urls.items()}
    return [
        f"{name}: its password is a default or a placeholder; set another (bin/env generates one)"
        for name, password in passwords.items()
        if password.lower() in _DEFAULTS or _PLACEHOLDER.search(password)
    ]
