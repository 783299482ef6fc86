"""Self-contained reports: tables, charts, videos."""
