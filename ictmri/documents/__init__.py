"""What is written about a cohort: card, datasheet, checklists, Croissant, tables."""
