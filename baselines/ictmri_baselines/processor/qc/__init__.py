"""Quality control of processed scans."""
