"""Records the run in tests/data that later versions must still read: `python -m tests.trace.record FOLDER`.

Made once for each schema version; never made anew to please a change of the code.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from rlm import RLM
from tests.trace import rich


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place, rich.server() as server:
        result = RLM(settings=rich.settings(server.base_url, Path(place), sandbox="docker")).run(
            rich.QUESTION, rich.CONTEXT
        )
        assert result.answer == rich.ANSWER
        assert result.trace is not None
        shutil.copytree(result.trace.parent, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
