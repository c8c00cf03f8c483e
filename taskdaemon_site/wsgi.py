"""The WSGI application, and the RSGI application that the web server loads."""

import gc
import os

from django.core.wsgi import get_wsgi_application

from tasks_app.broker import notification
from tasks_app.conf import BadEnvironment, environment
from tasks_app.conf.reading import no_shared_key
from tasks_app.conf.watching import watcher
from tasks_app.feature import tell
from tasks_app.keys.caller import keys
from tasks_app.process import name_process, on_hangup
from tasks_app.runner.parent_death import die_with_parent
from tasks_app.web.beat import WebBeat
from tasks_app.web.rsgi import Application

BROKER_CONNECT_TIMEOUT_SECONDS = 2.0

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")

if fault := no_shared_key(environment()):
    raise BadEnvironment([fault])
application = get_wsgi_application()
rsgi = Application(application, environment().web_threads, environment().body_limit, environment().body_timeout)

# `manage.py web` starts the process that imports this module, which must not keep the port if its parent is killed. The
# parent's id comes from the environment: if the parent is dead already, getppid() names another process.
if master := os.environ.get("TASKDAEMON_WEB_MASTER"):
    die_with_parent(int(master))()
    name_process("tasks-web")
    on_hangup(watcher.look)  # the parent passes it on

WebBeat(environment().home, keys, watcher).start()
watcher.start()

tell("process_starts", True)

# Connect now, so that the first task's notification does not wait. If this fails, the next notification tries again.
notification.open(BROKER_CONNECT_TIMEOUT_SECONDS)

# As tasks_app/apps.py does: much has been imported since, Celery for one.
gc.freeze()
