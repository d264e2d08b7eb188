"""Holdfast protects every machine an organisation runs and brings any of them back."""
