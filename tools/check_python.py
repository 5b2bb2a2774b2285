"""Says in one line what is missing to make a virtual environment; runs on any Python, however old."""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "Python 3.11 or later is needed, this is %d.%d: make PYTHON=/path/to/python3.11 ..." % sys.version_info[:2]
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit("this Python cannot make virtual environments: apt-get install python3-venv (Debian, Ubuntu)")
