"""``python -m supervisor`` is the command ``device-plugin-supervisor``."""

import sys

from supervisor.cli import main

sys.exit(main())
