"""The command as a whole: its groups of commands, and its end."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.shell_completion import get_completion_class

from taskdaemon_client import __version__
from taskdaemon_client.command import operate, queueing, tasks, top
from taskdaemon_client.command.ends import INTERRUPTED, MEANINGS, OWN_FAULT, USAGE, complain
from taskdaemon_client.command.output import PipeClosed, drop_what_is_unwritten, say, write
from taskdaemon_client.command.words import connection
from taskdaemon_client.errors import TaskdaemonError

_HELP = """Submits tasks to a task platform, waits for them, and operates it.

\b
tdctl submit prime '{"limit": 1000000}' --wait
tdctl list --status failed --json id,last_error
tdctl top

Data goes to stdout, everything else to stderr. On a terminal lists are tables; elsewhere they are lines with tabs
between the cells and without headings. Colours and progress bars are for terminals alone, and nothing ever asks.
With --json the data is what the API answers, or the fields of it that you name; a list is an array.
"""

_ADDRESS = """The address is the first of: --url; the profile of --profile; TASKDAEMON_URL; the profile of
TASKDAEMON_PROFILE; the file's default; http://127.0.0.1:8080. The key is the profile's if the address is, else
TASKDAEMON_API_KEY. Profiles are in ~/.config/taskdaemon/config.toml:

\b
default = "production"
[profiles.production]
url = "https://tasks.example.org"
api_key = "..."

Exit codes:

\b
"""
_EPILOG = _ADDRESS + "\n".join(f"{code:<4} {meaning}" for code, meaning in MEANINGS.items())


class Root(click.Group):
    """Lists its commands in sections, in the order in which they were added."""

    def __init__(self, sections: Mapping[str, Sequence[click.Command]], **attributes: Any) -> None:
        commands = [command for section in sections.values() for command in section]
        super().__init__("tdctl", commands=commands, **attributes)
        self.sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order in which they were added."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of commands."""
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(str(command.name), command.get_short_help_str(100)) for command in commands])


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        write(f"tdctl {__version__}\n")
        ctx.exit()


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Write the completion script of a shell.

    \b
    bash: tdctl completion bash > ~/.local/share/bash-completion/completions/tdctl
    zsh:  tdctl completion zsh > ~/.zfunc/_tdctl    (with fpath+=~/.zfunc before compinit)
    fish: tdctl completion fish > ~/.config/fish/completions/tdctl.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    write(kind(root, {}, "tdctl", "_TDCTL_COMPLETE").source() + "\n")


root = Root(
    {
        "Tasks": [
            queueing.submit, queueing.submit_many, tasks.get, tasks.wait, tasks.logs, tasks.list_tasks, tasks.why,
            tasks.cancel, tasks.redrive, tasks.priority, tasks.delete,
        ],
        "Operate": [
            top.top, operate.handlers, operate.limit_keys, operate.pause, operate.resume, operate.nodes,
            operate.drain, operate.undrain, operate.schedules, operate.operations, operate.callbacks,
        ],
        "The command": [completion],
    },
    help=_HELP,
    epilog=_EPILOG,
    params=[
        *connection(),
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
                     help="Write the version."),
    ],
    no_args_is_help=True,
)  # fmt: skip


def run(words: Sequence[str]) -> int:
    """Run the command. Returns its exit code. A reader that closes the pipe early ends the process, like `cat`."""
    try:
        return _run(words)
    except KeyboardInterrupt:  # outside of the commands: within them click takes it
        return INTERRUPTED
    except (PipeClosed, BrokenPipeError):
        drop_what_is_unwritten(sys.stdout)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
        return OWN_FAULT


def _run(words: Sequence[str]) -> int:
    if strange := next((word for word in words if not _is_text(word)), None):
        say(f"Error: {strange!r} is not UTF-8")
        return USAGE
    try:
        code = root.main(words, prog_name="tdctl", standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        say(shown.getvalue().removesuffix("\n"))
        return USAGE
    except TaskdaemonError as error:
        return complain(error)
    except (PipeClosed, BrokenPipeError):
        raise
    except OSError as error:  # an error of stdout, such as a full disk: the client raises its own errors
        drop_what_is_unwritten(sys.stdout)
        say(f"Error: {error}")
        return OWN_FAULT
    except Exception:
        traceback.print_exc()
        say("this is a bug of tdctl")
        return OWN_FAULT
    return code if isinstance(code, int) else 0


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:  # a byte of the word is a surrogate
        return False
    return True
