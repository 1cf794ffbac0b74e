"""``python -m parallel_mcmc``."""

import sys

from parallel_mcmc.cli import main

if __name__ == "__main__":
    sys.exit(main())
