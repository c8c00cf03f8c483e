"""The options that schedules give to their tasks: no caller may ask for them."""

from tasks_app.options.engine import MOMENT
from tasks_app.options.option import Option

OPTIONS = (
    Option(
        name="schedule",
        column="schedule",
        in_json=False,
        exported=False,
        answer={"type": "string", "description": "The schedule that has made it, if one has."},
    ),
    Option(
        name="scheduled_for",
        column="scheduled_for",
        in_json=False,
        exported=False,
        answer={**MOMENT, "description": "The tick of the schedule."},
    ),
)
