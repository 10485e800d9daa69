"""Other servers' configurations, brought over: what can be said in ours is, and what cannot is named."""
