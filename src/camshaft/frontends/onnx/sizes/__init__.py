"""Which sizes inputs have: what is declared, said, usual, and demanded by operators."""
