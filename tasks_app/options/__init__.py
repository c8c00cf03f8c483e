"""What a task may ask for, each declared once (option.py)."""
