-- Tiers for usage, with the storage policy of storage-s3.xml. It is not a migration: run it once, by hand, after
-- `jarvis-gateway usage migrate`: clickhouse-client --database usage --multiquery < storage-s3.sql
-- On a cluster: at each of its servers, as settings are not replicated.
-- The gateway's retention (usage.keep) leaves the moves as they are, and sets when rows are deleted.

ALTER TABLE requests MODIFY SETTING storage_policy = 'tiered';
ALTER TABLE requests MODIFY TTL toDateTime(time) + INTERVAL 7 DAY TO VOLUME 'warm', toDateTime(time) + INTERVAL 90 DAY TO VOLUME 'cold';

ALTER TABLE attempts MODIFY SETTING storage_policy = 'tiered';
ALTER TABLE attempts MODIFY TTL toDateTime(time) + INTERVAL 7 DAY TO VOLUME 'warm', toDateTime(time) + INTERVAL 90 DAY TO VOLUME 'cold';

ALTER TABLE contents MODIFY SETTING storage_policy = 'tiered';
ALTER TABLE contents MODIFY TTL toDateTime(time) + INTERVAL 1 DAY TO VOLUME 'warm';
