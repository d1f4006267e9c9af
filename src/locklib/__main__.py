"""`python -m locklib`: the command line."""

from locklib.cli import main

if __name__ == "__main__":
    main()
