"""Secrets that are none: what stands in examples, and what servers are installed with. Everybody knows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

_PLACEHOLDER = re.compile(r"change.?(me|it|this)|insecure|your.?(secret|key|password)|placeholder", re.IGNORECASE)
_DEFAULTS = frozenset({"admin", "guest", "password", "postgres", "rabbitmq", "redis", "secret", "taskdaemon"})


def placeholders(secrets: Mapping[str, str | None]) -> list[str]:
    """A sentence for each variable whose secret is a placeholder."""
    return [
        f"{name}: is a placeholder; make one of random characters (bin/env does)"
        for name, secret in secrets.items()
        if secret and (_PLACEHOLDER.search(secret) or len(set(secret)) < _least(name))
    ]


def _least(name: str) -> int:
    """Different characters of which a signing key is, at least. Of a password its length is asked elsewhere."""
    return 8 if name == "DAEMON_SECRET_KEY" else 0


def default_passwords(urls: Mapping[str, str | None]) -> list[str]:
    """A sentence for each variable whose URL has a password that its server is installed with, or a placeholder."""
    return [
        f"{name}: its password is one that everybody knows; set another (bin/env makes one)"
        for name, url in urls.items()
        if _known(unquote(urlsplit(url or "").password or ""))
    ]


def _known(password: str) -> bool:
    return password.lower() in _DEFAULTS or _PLACEHOLDER.search(password) is not None
