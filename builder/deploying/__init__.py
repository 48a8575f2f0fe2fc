"""What a deployment is read from: the fronts' probes, the packages, what the options may say."""
