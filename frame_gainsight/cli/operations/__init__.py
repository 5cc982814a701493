"""What commands find out and do, without showing it."""
