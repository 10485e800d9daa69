"""Messages of `accord.v1`, generated from `protos/accord/v1` by `make protos`."""
