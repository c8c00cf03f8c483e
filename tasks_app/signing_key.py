"""What signs sessions and cookies."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tasks_app.conf import BadEnvironment, Environment, handlers_faults


def no_shared_key(env: Environment) -> str | None:
    """Why a web server must not start, or None: several of them that each make a key do not know each other's sessions.

    A worker signs nothing, and its host should not have the key.
    """
    if env.secret_key or not (env.database_url or "").startswith("postgres"):
        return None
    return (
        "DAEMON_SECRET_KEY: required with DATABASE_URL, at least 32 random characters, the same for every web server "
        "(python3 -c 'import secrets; print(secrets.token_urlsafe(48))')"
    )


def signing_key(env: Environment) -> str:
    """DAEMON_SECRET_KEY, or one made once into DAEMON_HOME with mode 0600."""
    if env.secret_key:
        return env.secret_key
    try:
        return _kept(env.home / "secret_key")
    except OSError as error:
        fault = f"DAEMON_HOME: cannot keep files in {str(env.home)[:200]}: {error.strerror}"
        raise BadEnvironment([fault], handlers_faults(env)) from None


def _kept(path: Path) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # Written aside and linked into place: of two first starts at once both end up with the same whole key.
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
