"""`python cli.py …` in a checkout is the installed `rlm …`."""

from rlm.commands import main

if __name__ == "__main__":
    main()
