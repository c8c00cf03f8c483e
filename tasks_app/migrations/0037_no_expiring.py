from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0036_callback_due_hosts"),
    ]

    operations = [
        # Only nodes of versions before 0023 read it. Each move of each task paid for it.
        migrations.RemoveIndex(model_name="task", name="task_expiring"),
    ]
