"""Models of tables by scikit-learn, XGBoost and LightGBM: what columns they take, what they answer."""
