"""What the pages of the audit log add to the engine."""

from tasks_app.feature import Feature


class Audit(Feature):
    """The pages that show the audit log."""

    name = "tasks_app.features.audit"
    panels = "tasks_app.features.audit.admin.panels"
    sections = "tasks_app.features.audit.admin.sections"
    acts_page = "tasks_app.features.audit.admin.acts_page"
