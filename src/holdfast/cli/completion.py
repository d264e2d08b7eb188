"""`holdfast completion`: what a shell must read to complete our commands and options."""

import click
from click.shell_completion import get_completion_class

from holdfast.cli.common import Command

_EXAMPLES = """
holdfast completion bash > /etc/bash_completion.d/holdfast
holdfast completion zsh > ~/.zfunc/_holdfast
holdfast completion fish > ~/.config/fish/completions/holdfast.fish
"""


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(context.find_root().command, {}, "holdfast", "_HOLDFAST_COMPLETE").source())
