"""keep a bucket's credentials in a Prefect block, for --storage-credentials NAME

Taken from this shell: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or
AWS_PROFILE; with AWS_ENDPOINT_URL and AWS_REGION. Runs that name the block need none of them.
"""

from __future__ import annotations

import argparse

from flows.cli.context import Context
from flows.cli.options import block_name
from flows.cli.output import echo, echo_json
from tasks.prefect import server

COMMON = ("verbose",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (__doc__ or "").strip()
    parser.add_argument(
        "name", type=block_name, metavar="NAME", help="of the block: a-z, 0-9, dashes"
    )
    parser.add_argument("--yes", action="store_true", help="replace a block of this name")


def run(options: argparse.Namespace, context: Context) -> None:
    with server.starting():
        from tasks.prefect import credentials
    credentials.save(options.name, options.yes)
    if context.json:
        echo_json({"storage_credentials": options.name})
    else:
        echo(options.name)
