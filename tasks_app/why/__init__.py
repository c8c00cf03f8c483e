"""Why a task does not run, or how it ended: `facts` are read, `decide` turns them into reasons."""

from tasks_app.why.decide import decide
from tasks_app.why.facts import Facts
from tasks_app.why.reading import read
from tasks_app.why.reason import Reason, as_text

__all__ = ["Facts", "Reason", "as_text", "decide", "read"]
