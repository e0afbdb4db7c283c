"""The videos: record kinds, shards, reading them in batches, stand-in data, inspection."""
