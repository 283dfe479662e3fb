"""Where real data may lie, beside the repository; tests that use it are skipped where it does not."""

from pathlib import Path

SHARED = Path(__file__).resolve().parents[3] / "shared"
