"""Raw records decoded: activities, deletions and period markers, and the people they mention."""
