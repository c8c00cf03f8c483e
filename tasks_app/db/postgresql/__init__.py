"""Django's PostgreSQL backend over connections whose calls time out."""
