"""The command line: one module per command, imported only as far as the command needs.

`rlm --help` and `rlm version` must answer at once, so nothing heavy is imported at the top of these modules.
"""

from __future__ import annotations

import sys
import warnings
from typing import NoReturn


def main() -> NoReturn:
    """Run the command that `sys.argv` names and exit with its code (see docs/cli.md)."""
    from rlm.commands.app import run
    from rlm.commands.console import open_missing_streams, show_warning

    open_missing_streams()
    warnings.showwarning = show_warning
    sys.exit(run(sys.argv[1:]))
