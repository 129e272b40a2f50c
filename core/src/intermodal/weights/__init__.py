"""Weight maps: one declaration for each family, from which loading, export, reports and adapters all come."""
