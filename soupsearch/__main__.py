"""``python -m soupsearch``: the command line."""

from soupsearch.cli.main import main

if __name__ == "__main__":
    main()
