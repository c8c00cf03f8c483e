"""What stands in front of Django: the RSGI application, and middleware."""
