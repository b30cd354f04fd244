-- Tables of what jarvis-gateway usage export --format jsonl has written to s3://BUCKET/PREFIX: put in yours, and run one
-- statement after the other. Partitions are days (UTC), which Athena finds by itself (partition projection): no crawler, no
-- ALTER TABLE. Questions should say WHERE dt BETWEEN '2026-11-01' AND '2026-11-30', and read only those days then.
-- Money is nano-dollars: sum(cost_nano) / 1e9. Attempts are of the day of their request: they are joined by dt and uid.
-- Times are texts: from_iso8601_timestamp("time").

CREATE EXTERNAL TABLE IF NOT EXISTS jarvis_requests (
  `uid` string,
  `time` string,
  `id` string,
  `tenant` string,
  `team` string,
  `key` string,
  `user` string,
  `scene` string,
  `tags` array<string>,
  `endpoint` string,
  `stream` boolean,
  `asked` string,
  `model` string,
  `provider` string,
  `served` string,
  `replica` string,
  `region` string,
  `route` string,
  `rollout` string,
  `arm` string,
  `cache` string,
  `similarity` double,
  `prompt` string,
  `corpus` string,
  `flow` string,
  `prompt_tokens` bigint,
  `completion_tokens` bigint,
  `cached_tokens` bigint,
  `cache_write_tokens` bigint,
  `cache_write_1h_tokens` bigint,
  `reasoning_tokens` bigint,
  `audio_tokens` bigint,
  `audio_out_tokens` bigint,
  `image_in_tokens` bigint,
  `images` bigint,
  `audio_ms` bigint,
  `characters` bigint,
  `tier` string,
  `estimated` boolean,
  `cost_nano` bigint,
  `saved_nano` bigint,
  `price` string,
  `queued_us` bigint,
  `first_us` bigint,
  `upstream_us` bigint,
  `overhead_us` bigint,
  `total_us` bigint,
  `status` bigint,
  `outcome` string,
  `code` string,
  `finish` string,
  `gone` boolean,
  `interrupted` boolean,
  `bytes_in` bigint,
  `bytes_out` bigint,
  `attempts` bigint)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
LOCATION 's3://BUCKET/PREFIX/requests/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/requests/dt=${dt}/');

CREATE EXTERNAL TABLE IF NOT EXISTS jarvis_attempts (
  `uid` string,
  `seq` bigint,
  `time` string,
  `tenant` string,
  `model` string,
  `kind` string,
  `provider` string,
  `served` string,
  `replica` string,
  `region` string,
  `result` string,
  `begun_us` bigint,
  `first_us` bigint,
  `prompt_tokens` bigint,
  `completion_tokens` bigint,
  `cached_tokens` bigint,
  `cache_write_tokens` bigint,
  `cache_write_1h_tokens` bigint,
  `reasoning_tokens` bigint,
  `audio_tokens` bigint,
  `audio_out_tokens` bigint,
  `image_in_tokens` bigint,
  `images` bigint,
  `audio_ms` bigint,
  `characters` bigint,
  `tier` string,
  `estimated` boolean,
  `cost_nano` bigint)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
LOCATION 's3://BUCKET/PREFIX/attempts/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/attempts/dt=${dt}/');

CREATE EXTERNAL TABLE IF NOT EXISTS jarvis_feedback (
  `uid` string,
  `time` string,
  `request` string,
  `of` string,
  `tenant` string,
  `key` string,
  `user` string,
  `score` double,
  `comment` string,
  `metadata` string,
  `model` string,
  `prompt` string,
  `rollout` string,
  `arm` string)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
LOCATION 's3://BUCKET/PREFIX/feedback/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/feedback/dt=${dt}/');

CREATE EXTERNAL TABLE IF NOT EXISTS jarvis_rollups (
  `time` string,
  `tenant` string,
  `team` string,
  `model` string,
  `provider` string,
  `served` string,
  `scene` string,
  `outcome` string,
  `cache` string,
  `requests` bigint,
  `attempts` bigint,
  `prompt_tokens` bigint,
  `completion_tokens` bigint,
  `cached_tokens` bigint,
  `cache_write_tokens` bigint,
  `cache_write_1h_tokens` bigint,
  `reasoning_tokens` bigint,
  `audio_tokens` bigint,
  `audio_out_tokens` bigint,
  `image_in_tokens` bigint,
  `images` bigint,
  `audio_ms` bigint,
  `characters` bigint,
  `cost_nano` bigint,
  `saved_nano` bigint,
  `estimated` bigint,
  `gone` bigint,
  `interrupted` bigint)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
LOCATION 's3://BUCKET/PREFIX/rollups/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/rollups/dt=${dt}/');

CREATE EXTERNAL TABLE IF NOT EXISTS jarvis_contents (
  `uid` string,
  `time` string,
  `tenant` string,
  `id` string,
  `asked` string,
  `answered` string)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
LOCATION 's3://BUCKET/PREFIX/contents/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/contents/dt=${dt}/');
