"""How a member is asked: one module per way, all behind :class:`gateway.members.member.Member`."""
