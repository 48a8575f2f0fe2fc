"""What the scripts of this folder share: children, deployments, memory, figures and their record."""
