"""The options of tasks, each declared once (option.py)."""
