"""Feed hostile inputs to every parser of untrusted bytes, and count what becomes of them.

python -m qa.fuzz                                  # 100,000 inputs
python -m qa.fuzz --target tar zip --inputs 5000   # some targets
python -m qa.fuzz --target tar --only 1234         # one input, with its traceback

Input N of a target depends on the seed and N alone. An input has to be accepted or refused with an
error that the reader documents, within its time, with nothing written outside the folder that it
was given. Anything else is a find: it is kept below --finds, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from .campaign import campaign, table
from .targets import TARGETS, find


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m qa.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--inputs", type=int, default=100_000, help="of all targets [100000]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--target", nargs="+", choices=[t.name for t in TARGETS], metavar="NAME")
    parser.add_argument("--only", type=int, metavar="N", help="read this input here, unguarded")
    parser.add_argument("--finds", type=Path, default=Path("build/fuzz"), help="[build/fuzz]")
    options = parser.parse_args()
    targets = [find(name) for name in options.target] if options.target else list(TARGETS)
    if options.only is not None:
        data = targets[0].make(options.seed, options.only)
        print(f"{len(data):,} bytes: {data[:400]!r}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            print(targets[0].read(data, Path(folder)))
        return 0
    results, finds, seconds = campaign(targets, options.inputs, options.seed, options.processes)
    for one in finds:
        name = f"{one.target} {options.seed} {one.number}".replace(" ", "-")
        path = options.finds / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(find(one.target).make(options.seed, one.number))
        print(f"{one.kind}: {one.detail}: {path}", file=sys.stderr)
    print(table(results, seconds))
    return bool(finds)


if __name__ == "__main__":
    sys.exit(main())
