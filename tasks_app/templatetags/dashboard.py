"""The tag that gives the dashboard's contents to the admin's first page, which Django's own view renders."""

from django import template

from tasks_app.admin.dashboard import board

register = template.Library()
register.simple_tag(board)
