"""The `local` transport: notifications over Unix sockets, for one machine without a broker."""
