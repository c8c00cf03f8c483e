"""The edges of the state machine, one verb a file, each one guarded write.

A move is an UPDATE whose WHERE states the old status (and the attempt, where one is running); the row count is the
verdict. Nothing else in the project changes a status.
"""

from tasks_app.lifecycle.cancel import cancel
from tasks_app.lifecycle.claim import Want, claim, waiting
from tasks_app.lifecycle.claimed import Claimed, Policy
from tasks_app.lifecycle.delete import delete
from tasks_app.lifecycle.expire import expire
from tasks_app.lifecycle.intake import intake
from tasks_app.lifecycle.look import Look, look
from tasks_app.lifecycle.promote import promote
from tasks_app.lifecycle.prune import prune
from tasks_app.lifecycle.redrive import redrive
from tasks_app.lifecycle.release import release
from tasks_app.lifecycle.renew import held, renew
from tasks_app.lifecycle.rescue import rescue
from tasks_app.lifecycle.settle import Ended, settle
from tasks_app.lifecycle.submit import NewTask, submit, submit_many

__all__ = [
    "Claimed",
    "Ended",
    "Look",
    "NewTask",
    "Policy",
    "Want",
    "cancel",
    "claim",
    "delete",
    "expire",
    "held",
    "intake",
    "look",
    "promote",
    "prune",
    "redrive",
    "release",
    "renew",
    "rescue",
    "settle",
    "submit",
    "submit_many",
    "waiting",
]
