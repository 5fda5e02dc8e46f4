"""Files and folders on local disks and in buckets, `gs://`: atomic output, locks, caches."""
