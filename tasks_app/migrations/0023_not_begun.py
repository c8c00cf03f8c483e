from django.db import migrations, models
from django.db.models.functions import Coalesce


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0022_scan_start"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("expires_at"),
                name="task_not_begun",
                condition=models.Q(status="pending", expires_at__isnull=False)
                & models.Q(attempts__lte=Coalesce("unbegun_attempts", 0)),
            ),
        ),
        # The previous version reads `task_expiring` instead.
        migrations.RemoveIndex(model_name="task", name="task_never_started"),
    ]
