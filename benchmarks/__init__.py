"""Accuracy and speed, measured beside other programs; outside the wheel, called by make."""
