"""How a deployment is put together; no behaviour."""
