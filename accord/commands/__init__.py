"""One module per subcommand; each has one function named ``command``."""
