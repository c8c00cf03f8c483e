"""The tests of what stands in front of Django share the API's fixtures."""

from tests.api.conftest import api as api
from tests.api.conftest import no_cached_readings as no_cached_readings
from tests.api.conftest import server as server
