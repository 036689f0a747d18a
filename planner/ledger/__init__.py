"""The SQL tables, their migrations, and what is read from them."""
