"""Runs handlers: one call at a time in a warm container. Knows neither Django nor Celery nor the database."""
