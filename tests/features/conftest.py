"""Fixtures of the tests of features: those of the API, the admin and the queue, and deployments."""

from tests.admin.conftest import admin as admin
from tests.admin.conftest import nothing_remembered as nothing_remembered
from tests.admin.conftest import quick_passwords as quick_passwords
from tests.api.conftest import api as api
from tests.api.conftest import no_cached_readings as no_cached_readings
from tests.queue.moves.conftest import notifications as notifications
from tests.system.conftest import deployment as deployment
