"""`python -m memory_watchdog`."""

import sys

from memory_watchdog.cli import main

sys.exit(main())
