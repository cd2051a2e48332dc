"""Coverage-guided fuzzing of the block parser: `make fuzz`, or `python fuzz/fuzz_blocks.py [options of libFuzzer]`.

Whatever a model says is a block or none, and does not depend on how it was cut into pieces.
"""

from __future__ import annotations

import sys

import targets

if __name__ == "__main__":
    targets.fuzz(targets.blocks, sys.argv)
