"""`python -m wardian` is the `wardian` command."""

from __future__ import annotations

import sys

from wardian.cli.main import main

sys.exit(main())
