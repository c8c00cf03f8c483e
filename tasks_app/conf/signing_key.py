"""The key that signs sessions and cookies."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tasks_app.conf import BadEnvironment, Environment, handlers_faults


def no_shared_key(env: Environment) -> str | None:
    """Why a web server must not start, or None. Web servers with different keys reject each other's sessions.

    Workers sign nothing, and their hosts should not have the key.
    """
    if env.secret_key or not env.has_database_server:
        return None
    return (
        "DAEMON_SECRET_KEY: required with DATABASE_URL, at least 32 random characters, the same for every web server "
        "(python3 -c 'import secrets; print(secrets.token_urlsafe(48))')"
    )


def signing_key(env: Environment) -> str:
    """DAEMON_SECRET_KEY, or a key that is generated once and stored in DAEMON_HOME with mode 0600."""
    if env.secret_key:
        return env.secret_key
    try:
        return _stored(env.home / "secret_key")
    except OSError as error:
        fault = (
            f"DAEMON_HOME: cannot write to {str(env.home)[:200]}: {error.strerror}; "
            "set it to a folder that this user can write to"
        )
        raise BadEnvironment([fault], handlers_faults(env)) from None


def _stored(path: Path) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # Written to a draft and linked: two processes that start at once end up with the same complete key.
        draft = path.with_name(f"secret_key.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
