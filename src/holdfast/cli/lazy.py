"""Groups that list their commands without importing them: `holdfast --help` reads no library a backup needs."""

from importlib import import_module

import click


class Stub(click.Command):
    """Stands for a command in its group's list until it is chosen; `target` is `module:attribute`."""

    def __init__(self, name: str, target: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help, add_help_option=False)
        self.target = target

    def load(self) -> click.Command:
        """Import the command this stands for."""
        module, _, attribute = self.target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


class LazyGroup(click.Group):
    """A group whose stubs are replaced only once one of them is to run."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click's own choice, with the real command in place of its stub."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Stub) else command, rest
