"""What shadow episodes say: totals in operators' units, intervals, the rule, and how it is shown."""
