"""Several server tasks on one machine behind a balancer, to try and to measure what one task alone does not show."""
