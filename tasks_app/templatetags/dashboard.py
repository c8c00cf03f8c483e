"""What the first page of the admin shows: Django's own view renders it, and asks for it here."""

from django import template

from tasks_app.admin.dashboard import board

register = template.Library()
register.simple_tag(board)
