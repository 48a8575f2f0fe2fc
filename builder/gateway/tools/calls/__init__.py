"""What the formats share: reading calls out of text, forcing them, telling the model of past ones."""
