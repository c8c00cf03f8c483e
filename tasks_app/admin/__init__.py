"""The Django admin for operators. It changes tasks only through `queue`."""

from django.contrib import admin

from tasks_app.admin import logins, nodes, tasks, users

# Django's own site with other titles and templates. A site class in this package would be a circular import:
# registering on it imports it, and importing it registers.
admin.site.site_header = admin.site.site_title = "Tasks"
admin.site.index_title = "Dashboard"
admin.site.site_url = None  # there is no other site: / leads here
admin.site.enable_nav_sidebar = False  # the tables need the space
admin.site.index_template = "taskdaemon/dashboard.html"
admin.site.login_template = "taskdaemon/login.html"
admin.site.password_change = logins.password_change  # type: ignore[method-assign,assignment]

__all__ = ["logins", "nodes", "tasks", "users"]
