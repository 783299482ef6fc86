"""Networks, their filters, their surgery for transfer, and their export."""
