"""Texts: classification, naive Bayes, a model of characters, reports and pictures."""
