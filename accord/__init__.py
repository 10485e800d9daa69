"""The public face of Accord: the command line, the client and what plug-ins build on."""
