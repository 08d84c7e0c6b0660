"""Adaptive-Diagnoser: masked channel attention and fusion over a 3D backbone [equations 6 to 9]."""
