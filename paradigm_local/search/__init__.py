"""`POST /api/v3/search` over a folder of documents: reading, index, filters, contract, endpoint."""
