"""The contract: messages, tensors and errors as both sides of the wire know them.

Gateway and workers share this package and nothing else, so that one table of errors, one tensor
codec and one set of validations serve both.
"""
