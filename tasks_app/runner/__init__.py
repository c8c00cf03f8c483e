"""Run one call in a warm container. Knows neither Django nor Celery nor the database."""
