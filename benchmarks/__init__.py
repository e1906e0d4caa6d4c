"""What dp_dagster costs, as ratios to plain code: each pair measured in turns in one run."""
