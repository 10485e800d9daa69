"""Smaller and faster variants of a trained model, each measured."""
