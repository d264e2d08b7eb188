"""Options that several ways to restore take alike."""

import click

from holdfast.cli.parameters import Rate

NETWORK = click.option("--network", metavar="OLD=NEW", multiple=True, help="Connect to another network. Repeatable.")
RATE = click.option("--rate", type=Rate(), metavar="RATE", help="Move home at most so many bytes a second, like 20MiB.")
RESUME = click.option(
    "--resume",
    is_flag=True,
    help="Go on with what an earlier try left as *.partial, and leave it there if this one fails.",
)
AGENT_TIMEOUT = click.option(
    "--agent-timeout",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the guest agent.",
)
