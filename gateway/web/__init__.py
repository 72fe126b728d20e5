"""The read-only page on the admin port: HTML that works without scripts, and one small script that keeps it fresh."""
