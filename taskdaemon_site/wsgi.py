"""The WSGI application, and the front that the web server loads."""

import gc
import os

from django.core.wsgi import get_wsgi_application

from tasks_app.api.front import Front
from tasks_app.api_keys import keys
from tasks_app.conf import BadEnvironment, environment
from tasks_app.metrics import flusher
from tasks_app.process_name import name_process
from tasks_app.runner.parent_death import die_with_parent
from tasks_app.signing_key import no_shared_key

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")

if fault := no_shared_key(environment()):
    raise BadEnvironment([fault])
application = get_wsgi_application()
front = Front(application, environment().web_threads, environment().body_limit, environment().body_timeout)

# `manage.py web` starts the process that imports this, and would leave it with the port if it were killed. Asked for by
# number: a parent that is gone already is somebody else's number.
if master := os.environ.get("TASKDAEMON_WEB_MASTER"):
    die_with_parent(int(master))()
    name_process("tasks-web")

# Counts of requests and bells, and which keys were used, reach the database by a thread, never on a request's time.
flusher.start(keys.write_uses)

# What is imported by now stays, and need not be looked at by the garbage collector again.
gc.freeze()
