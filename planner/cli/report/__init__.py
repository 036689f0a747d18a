"""`ladle report`: what happened, from the ledger, as tables and a picture."""
