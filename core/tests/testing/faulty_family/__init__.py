"""A copy of the Llama family in which each member has one planted fault. It is installed for the kit's own tests."""
