"""keep a bucket's credentials in a Prefect block, for --storage-credentials NAME

Taken from this shell: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or
AWS_PROFILE; with AWS_ENDPOINT_URL and AWS_REGION. Runs that name the block need none of them.
"""

from __future__ import annotations

import argparse

from facenet_core.config import PipelineConfig
from flows.cli.option_types import block_name
from flows.cli.terminal import echo, echo_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (__doc__ or "").strip()
    parser.add_argument(
        "name", type=block_name, metavar="NAME", help="of the block: a-z, 0-9, dashes"
    )
    parser.add_argument("--yes", action="store_true", help="replace a block of this name")


def run(options: argparse.Namespace, settings: PipelineConfig) -> None:
    from tasks.prefect import credentials, server

    server.start()
    server.wait()
    credentials.save(options.name, options.yes)
    if options.json:
        echo_json({"storage_credentials": options.name})
    else:
        echo(options.name)
