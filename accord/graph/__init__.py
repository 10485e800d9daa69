"""A compiled plan for people: what is asked, who reads what, and what is merged; as text and as a picture."""
