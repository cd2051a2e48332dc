"""Coverage-guided fuzzing of the frame decoders: `make fuzz`, or `python fuzz/fuzz_frames.py [options of libFuzzer]`.

Whatever a sandbox sends is frames or a `ProtocolError`, and does not depend on how it was cut into pieces.
"""

from __future__ import annotations

import sys

import targets

if __name__ == "__main__":
    targets.fuzz(targets.frames, sys.argv)
