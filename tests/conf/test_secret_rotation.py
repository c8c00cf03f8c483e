"""A new signing key: users stay logged in while the old key is the fallback."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from testkit.daemon import Daemon, serving, shipped
from testkit.process import PROJECT

pytestmark = pytest.mark.long("servers of its own", seconds=20)

PASSWORD = secrets.token_urlsafe(48)


def still_in(server: Daemon, cookies: httpx.Cookies) -> httpx.Response:
    client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", cookies=dict(cookies), timeout=30)
    return client.get("/admin/")


def test_a_session_outlives_its_signing_key_by_the_fallback_and_then_needs_it_no_more(tmp_path: Path) -> None:
    old, new = secrets.token_urlsafe(48), secrets.token_urlsafe(48)
    before = shipped(tmp_path, DAEMON_SECRET_KEY=old, DAEMON_ADMIN_PASSWORD=PASSWORD)
    assert before.manage("prepare", "-v0").ends() == 0
    with serving(tmp_path, DAEMON_SECRET_KEY=old) as server:
        cookies, other = server.log_in(PASSWORD).cookies, server.log_in(PASSWORD).cookies
    with serving(tmp_path, DAEMON_SECRET_KEY=new, DAEMON_SECRET_KEY_FALLBACK=old) as server:
        answer = still_in(server, cookies)
        assert answer.status_code == 200
        cookies.update(answer.cookies)
    with serving(tmp_path, DAEMON_SECRET_KEY=new) as server:
        assert still_in(server, cookies).status_code == 200, "it was signed with the new key"
        assert still_in(server, other).status_code == 302, "it made no request meanwhile"


def test_the_documented_lines_make_the_old_key_the_fallback_of_a_new_one(tmp_path: Path) -> None:
    for folder in ("bin", "deploy"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    section = (PROJECT / "docs/operations.md").read_text().split("## New secrets")[1]
    lines = section.split("```")[1]
    here: dict[str, Any] = {"cwd": tmp_path, "env": {"PATH": "/usr/bin:/bin"}, "check": True, "capture_output": True}
    subprocess.run(["sh", "bin/env"], **here)
    before = settings(tmp_path)
    for _ in range(2):  # the second time the fallback is the first new key
        subprocess.run(["sh", "-euc", lines], **here)
        after = settings(tmp_path)
        assert after["DAEMON_SECRET_KEY_FALLBACK"] == before["DAEMON_SECRET_KEY"] != after["DAEMON_SECRET_KEY"]
        changed = {name for name in after if after[name] != before.get(name)}
        assert changed == {"DAEMON_SECRET_KEY", "DAEMON_SECRET_KEY_FALLBACK"}
        before = after


def settings(folder: Path) -> dict[str, str]:
    lines = [line for line in (folder / ".env").read_text().splitlines() if "=" in line and not line.startswith("#")]
    assert len({line.split("=")[0] for line in lines}) == len(lines)
    return dict(line.split("=", 1) for line in lines)


def test_the_key_of_the_environment_is_changed_by_revoking_it_first(tmp_path: Path) -> None:
    old, new = f"tpk_{secrets.token_hex(32)}", f"tpk_{secrets.token_hex(32)}"

    daemon = shipped(tmp_path)
    assert daemon.manage("prepare", "-v0", DAEMON_API_KEY=old).ends() == 0
    refused = daemon.manage("prepare", "-v0", DAEMON_API_KEY=new)
    assert (refused.ends(), "revoke it first" in refused.said()) == (2, True)
    assert daemon.manage("apikey", "revoke", "DAEMON_API_KEY").ends() == 0
    assert daemon.manage("prepare", "-v0", DAEMON_API_KEY=new).ends() == 0
    with serving(tmp_path) as server:
        codes = [
            httpx.get(
                f"http://127.0.0.1:{server.port}/api/tasks", headers={"Authorization": f"Bearer {key}"}, timeout=30
            ).status_code
            for key in (old, new)
        ]
    assert codes == [401, 200]
