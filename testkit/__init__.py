"""What tests and benchmarks share: daemons, servers, images, and what a machine has to have for them."""
