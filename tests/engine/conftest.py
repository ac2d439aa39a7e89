"""Jobs and lists of slides; new processes import `slide_jobs` from this folder by its name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
