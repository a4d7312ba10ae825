"""Who else serves this deployment: each replica's place, the proof that it holds it still, and the fate of the dead."""
