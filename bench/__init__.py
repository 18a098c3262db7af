"""What the explained server costs: the same load on it and on stock Uvicorn, side by side."""
