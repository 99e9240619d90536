"""Tables larger than memory: fitted from shuffled rows, scored piece by piece."""
