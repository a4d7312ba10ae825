"""The parts of the builtin researcher: what it reads of a conversation, plans, follows up and writes."""
