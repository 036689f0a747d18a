"""What a placement is decided from and by: the observation, running estimates, and every rule. numpy only."""
