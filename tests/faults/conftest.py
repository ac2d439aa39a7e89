"""Scripts of this folder import each other by name, as they do where they are run themselves."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
