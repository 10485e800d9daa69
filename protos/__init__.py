"""What both sides of the wire share: messages, tensors, errors, and how a service meets gRPC.

Gateway and workers share this package and nothing else, so that one table of errors, one tensor
codec, one set of validations, one health service and one form of logs serve both.
"""
