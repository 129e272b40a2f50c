"""`keras.ops` as type checkers should see it: its functions have no annotations, and are taken to return None."""

from __future__ import annotations

from typing import Any

import keras

ops: Any = keras.ops
