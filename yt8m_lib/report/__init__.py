"""Claims, findings, tables and figures, made from what the experiment's record holds."""
