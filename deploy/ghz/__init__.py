"""Load tests with ghz: real requests against a real server, and every call has to succeed."""
