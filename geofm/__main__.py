"""``python -m geofm`` is ``geofm``."""

import sys

from geofm.cli.app import main

sys.exit(main())
