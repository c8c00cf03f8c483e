"""The WSGI application that the web server loads."""

import os

from django.core.wsgi import get_wsgi_application

from tasks_app.runner.parent_death import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")

application = get_wsgi_application()

# The web server's master starts the process that imports this, and would leave it with the port if it were killed.
die_with_parent(os.getppid())()
