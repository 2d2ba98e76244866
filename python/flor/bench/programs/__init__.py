"""Training programs of the suite ``train``, as a user writes them; ``recorded_by`` runs them."""
