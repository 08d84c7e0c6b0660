"""Where else scores go: Codabench, the Hub."""
