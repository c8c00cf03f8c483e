"""Django admin for the operators: it shows, and changes a task only through `lifecycle`."""

from django.contrib import admin

from tasks_app.admin.api_keys import ApiKeyAdmin
from tasks_app.admin.nodes import NodeAdmin
from tasks_app.admin.tasks import TaskAdmin

# Django's own site with other words and pages. A site class of ours could not live in this package: registering on it
# imports it, and importing it registers.
admin.site.site_header = admin.site.site_title = "Tasks"
admin.site.index_title = "Dashboard"
admin.site.site_url = "/docs"
admin.site.enable_nav_sidebar = False  # the tables need its room
admin.site.index_template = "taskdaemon/dashboard.html"
admin.site.login_template = "taskdaemon/login.html"

__all__ = ["ApiKeyAdmin", "NodeAdmin", "TaskAdmin"]
