"""What a placer sees, how it answers, and the rules that need no learning. Only numpy is needed."""
