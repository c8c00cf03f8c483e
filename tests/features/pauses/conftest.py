"""Fixtures of the tests of pauses: those of the API, the admin, its keys and the lifecycle."""

from tests.admin.conftest import admin as admin
from tests.api.conftest import api as api
from tests.api.conftest import no_cached_readings as no_cached_readings
from tests.keys.conftest import nothing_remembered as nothing_remembered
from tests.keys.conftest import quick_passwords as quick_passwords
from tests.lifecycle.conftest import notifications as notifications
