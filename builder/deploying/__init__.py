"""What a deployment is read from: the packages, what the options may say."""
