"""`python -m flows.cli`: the command line without an installed `facenet`."""

import sys

from flows.cli.main import main

sys.exit(main())
