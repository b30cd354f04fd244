-- Sums of requests by minute, hour and day, which dashboards read. They are kept up to date by the inserts into requests.
-- Sums: sum(requests), sum(cost_nano)... Times until the first content, the last byte, and of them the gateway's own, to 1 %:
-- quantilesDDMerge(0.01, 0.5, 0.9, 0.95, 0.99)(total_us).

CREATE TABLE IF NOT EXISTS requests_minute
(
    "time"                  DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    "tenant"                LowCardinality(String),
    "team"                  LowCardinality(String),
    "model"                 LowCardinality(String),
    "provider"              LowCardinality(String),
    "served"                LowCardinality(String),
    "scene"                 LowCardinality(String),
    "outcome"               LowCardinality(String),
    "cache"                 LowCardinality(String),
    "requests"              SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "attempts"              SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "prompt_tokens"         SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "completion_tokens"     SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cached_tokens"         SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cache_write_tokens"    SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cache_write_1h_tokens" SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "reasoning_tokens"      SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "audio_tokens"          SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "audio_out_tokens"      SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "image_in_tokens"       SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "images"                SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "audio_ms"              SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "characters"            SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cost_nano"             SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "saved_nano"            SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "estimated"             SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "gone"                  SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "interrupted"           SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "first_us"              AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Int64),
    "overhead_us"           AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Int64),
    "total_us"              AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Int64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM("time")
ORDER BY ("tenant", "time", "model", "provider", "served", "team", "scene", "outcome", "cache")
TTL "time" + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS requests_to_minute TO requests_minute AS
SELECT
    toStartOfMinute(r."time") AS "time",
    "tenant", "team", "model", "provider", "served", "scene", "outcome", "cache",
    toInt64(count()) AS "requests",
    sum(toInt64(r."attempts")) AS "attempts",
    sum(toInt64(r."prompt_tokens")) AS "prompt_tokens",
    sum(toInt64(r."completion_tokens")) AS "completion_tokens",
    sum(toInt64(r."cached_tokens")) AS "cached_tokens",
    sum(toInt64(r."cache_write_tokens")) AS "cache_write_tokens",
    sum(toInt64(r."cache_write_1h_tokens")) AS "cache_write_1h_tokens",
    sum(toInt64(r."reasoning_tokens")) AS "reasoning_tokens",
    sum(toInt64(r."audio_tokens")) AS "audio_tokens",
    sum(toInt64(r."audio_out_tokens")) AS "audio_out_tokens",
    sum(toInt64(r."image_in_tokens")) AS "image_in_tokens",
    sum(toInt64(r."images")) AS "images",
    sum(toInt64(r."audio_ms")) AS "audio_ms",
    sum(toInt64(r."characters")) AS "characters",
    sum(toInt64(r."cost_nano")) AS "cost_nano",
    sum(toInt64(r."saved_nano")) AS "saved_nano",
    sum(toInt64(r."estimated")) AS "estimated",
    sum(toInt64(r."gone")) AS "gone",
    sum(toInt64(r."interrupted")) AS "interrupted",
    quantilesDDStateIf(0.01, 0.5, 0.9, 0.95, 0.99)(r."first_us", r."first_us" > 0) AS "first_us",
    quantilesDDState(0.01, 0.5, 0.9, 0.95, 0.99)(r."overhead_us") AS "overhead_us",
    quantilesDDState(0.01, 0.5, 0.9, 0.95, 0.99)(r."total_us") AS "total_us"
FROM requests AS r
GROUP BY "time", "tenant", "team", "model", "provider", "served", "scene", "outcome", "cache";

CREATE TABLE IF NOT EXISTS requests_hour
(
    "time"                  DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    "tenant"                LowCardinality(String),
    "team"                  LowCardinality(String),
    "model"                 LowCardinality(String),
    "provider"              LowCardinality(String),
    "served"                LowCardinality(String),
    "scene"                 LowCardinality(String),
    "outcome"               LowCardinality(String),
    "cache"                 LowCardinality(String),
    "requests"              SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "attempts"              SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "prompt_tokens"         SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "completion_tokens"     SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cached_tokens"         SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cache_write_tokens"    SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cache_write_1h_tokens" SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "reasoning_tokens"      SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "audio_tokens"          SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "audio_out_tokens"      SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "image_in_tokens"       SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "images"                SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "audio_ms"              SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "characters"            SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cost_nano"             SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "saved_nano"            SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "estimated"             SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "gone"                  SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "interrupted"           SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "first_us"              AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Int64),
    "overhead_us"           AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Int64),
    "total_us"              AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Int64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM("time")
ORDER BY ("tenant", "time", "model", "provider", "served", "team", "scene", "outcome", "cache")
TTL "time" + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS requests_to_hour TO requests_hour AS
SELECT
    toStartOfHour(r."time") AS "time",
    "tenant", "team", "model", "provider", "served", "scene", "outcome", "cache",
    toInt64(count()) AS "requests",
    sum(toInt64(r."attempts")) AS "attempts",
    sum(toInt64(r."prompt_tokens")) AS "prompt_tokens",
    sum(toInt64(r."completion_tokens")) AS "completion_tokens",
    sum(toInt64(r."cached_tokens")) AS "cached_tokens",
    sum(toInt64(r."cache_write_tokens")) AS "cache_write_tokens",
    sum(toInt64(r."cache_write_1h_tokens")) AS "cache_write_1h_tokens",
    sum(toInt64(r."reasoning_tokens")) AS "reasoning_tokens",
    sum(toInt64(r."audio_tokens")) AS "audio_tokens",
    sum(toInt64(r."audio_out_tokens")) AS "audio_out_tokens",
    sum(toInt64(r."image_in_tokens")) AS "image_in_tokens",
    sum(toInt64(r."images")) AS "images",
    sum(toInt64(r."audio_ms")) AS "audio_ms",
    sum(toInt64(r."characters")) AS "characters",
    sum(toInt64(r."cost_nano")) AS "cost_nano",
    sum(toInt64(r."saved_nano")) AS "saved_nano",
    sum(toInt64(r."estimated")) AS "estimated",
    sum(toInt64(r."gone")) AS "gone",
    sum(toInt64(r."interrupted")) AS "interrupted",
    quantilesDDStateIf(0.01, 0.5, 0.9, 0.95, 0.99)(r."first_us", r."first_us" > 0) AS "first_us",
    quantilesDDState(0.01, 0.5, 0.9, 0.95, 0.99)(r."overhead_us") AS "overhead_us",
    quantilesDDState(0.01, 0.5, 0.9, 0.95, 0.99)(r."total_us") AS "total_us"
FROM requests AS r
GROUP BY "time", "tenant", "team", "model", "provider", "served", "scene", "outcome", "cache";

CREATE TABLE IF NOT EXISTS requests_day
(
    "time"                  DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    "tenant"                LowCardinality(String),
    "team"                  LowCardinality(String),
    "model"                 LowCardinality(String),
    "provider"              LowCardinality(String),
    "served"                LowCardinality(String),
    "scene"                 LowCardinality(String),
    "outcome"               LowCardinality(String),
    "cache"                 LowCardinality(String),
    "requests"              SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "attempts"              SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "prompt_tokens"         SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "completion_tokens"     SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cached_tokens"         SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cache_write_tokens"    SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cache_write_1h_tokens" SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "reasoning_tokens"      SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "audio_tokens"          SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "audio_out_tokens"      SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "image_in_tokens"       SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "images"                SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "audio_ms"              SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "characters"            SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "cost_nano"             SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "saved_nano"            SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "estimated"             SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "gone"                  SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "interrupted"           SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    "first_us"              AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Int64),
    "overhead_us"           AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Int64),
    "total_us"              AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Int64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear("time")
ORDER BY ("tenant", "time", "model", "provider", "served", "team", "scene", "outcome", "cache")
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS requests_to_day TO requests_day AS
SELECT
    toStartOfDay(r."time") AS "time",
    "tenant", "team", "model", "provider", "served", "scene", "outcome", "cache",
    toInt64(count()) AS "requests",
    sum(toInt64(r."attempts")) AS "attempts",
    sum(toInt64(r."prompt_tokens")) AS "prompt_tokens",
    sum(toInt64(r."completion_tokens")) AS "completion_tokens",
    sum(toInt64(r."cached_tokens")) AS "cached_tokens",
    sum(toInt64(r."cache_write_tokens")) AS "cache_write_tokens",
    sum(toInt64(r."cache_write_1h_tokens")) AS "cache_write_1h_tokens",
    sum(toInt64(r."reasoning_tokens")) AS "reasoning_tokens",
    sum(toInt64(r."audio_tokens")) AS "audio_tokens",
    sum(toInt64(r."audio_out_tokens")) AS "audio_out_tokens",
    sum(toInt64(r."image_in_tokens")) AS "image_in_tokens",
    sum(toInt64(r."images")) AS "images",
    sum(toInt64(r."audio_ms")) AS "audio_ms",
    sum(toInt64(r."characters")) AS "characters",
    sum(toInt64(r."cost_nano")) AS "cost_nano",
    sum(toInt64(r."saved_nano")) AS "saved_nano",
    sum(toInt64(r."estimated")) AS "estimated",
    sum(toInt64(r."gone")) AS "gone",
    sum(toInt64(r."interrupted")) AS "interrupted",
    quantilesDDStateIf(0.01, 0.5, 0.9, 0.95, 0.99)(r."first_us", r."first_us" > 0) AS "first_us",
    quantilesDDState(0.01, 0.5, 0.9, 0.95, 0.99)(r."overhead_us") AS "overhead_us",
    quantilesDDState(0.01, 0.5, 0.9, 0.95, 0.99)(r."total_us") AS "total_us"
FROM requests AS r
GROUP BY "time", "tenant", "team", "model", "provider", "served", "scene", "outcome", "cache";
