"""`python -m staticnet`: the command line."""

import sys

from staticnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
