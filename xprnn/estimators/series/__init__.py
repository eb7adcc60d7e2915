"""Forecasting series: the estimator, its network, baselines, backtests, reports and pictures."""
