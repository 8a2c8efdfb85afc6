"""Bounds that are not config keys. The unit stands last in each name."""

from __future__ import annotations

import sys

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
DOUBLE_MAX = sys.float_info.max
