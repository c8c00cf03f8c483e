"""python -m tests.features.look TASK... -- ADDRESS...: look through a platform with the settings of the environment.

Fails if `migrate` or `makemigrations` has something to do, if a page of the admin does not open or no link leads to it,
or if an address of the API answers. It starts no server.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from html import unescape
from urllib.parse import urljoin

#: Pages that links must lead to.
ADMIN = ("/admin/handlers/", "/admin/handler/?type=act", "/admin/tasks_app/task/", "/admin/tasks_app/node/")


def walk(get: Callable[[str], tuple[int, str]], tasks: list[str]) -> None:
    """Open all pages of the admin that links lead to, without filters of lists. `get`: a page's status and text."""
    todo, seen = ["/admin/"], {"/admin/"}
    while todo:
        page = todo.pop()
        status, text = get(page)
        last_superuser = page.startswith("/admin/auth/user/") and page.endswith("/delete/")
        assert status == (409 if last_superuser else 200), f"{page}: {status}"
        assert page != "/admin/" or "act" in text
        for link in re.findall(r'href="([^"]+)"', text):
            address = urljoin(page, unescape(link)).partition("#")[0]
            is_new = address.startswith("/admin/") and address not in seen
            if is_new and ("?" not in address or address.startswith("/admin/handler/")):
                seen.add(address)
                todo.append(address)
    for page in (*ADMIN, *(f"/admin/tasks_app/task/{task}/change/" for task in tasks)):
        assert page in seen, page


def main(tasks: list[str], addresses: list[str]) -> None:
    import django

    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", check_unapplied=True)
    call_command("makemigrations", check_changes=True)
    client = Client(raise_request_exception=False, headers={"host": "localhost"})
    client.force_login(User.objects.get(username="admin"))

    def get(page: str) -> tuple[int, str]:
        answer = client.get(page, follow=True)
        return answer.status_code, b"".join(answer).decode()

    walk(get, tasks)
    for address in addresses:
        assert client.get(address).status_code == 404, address


if __name__ == "__main__":
    middle = sys.argv.index("--")
    main(sys.argv[1:middle], sys.argv[middle + 1 :])
