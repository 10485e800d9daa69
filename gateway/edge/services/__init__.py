"""Services without a transport: a request message in, a response message or an AccordError out."""
