"""`python -m orlop`."""

from orlop.cli.main import main

if __name__ == "__main__":
    main()
