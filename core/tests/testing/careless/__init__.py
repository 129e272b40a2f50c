"""A plugin that keeps to none of the rules for packages. It is installed for the kit's own tests."""
