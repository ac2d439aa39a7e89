"""Reports that people read: one HTML file that needs nothing but itself."""
