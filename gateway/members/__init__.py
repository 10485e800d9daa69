"""How a member is asked, one module per way."""
