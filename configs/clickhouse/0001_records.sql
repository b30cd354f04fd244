-- What was used: a row for each request and for each attempt, what was thought of answers, and what was said. Every file of
-- this folder that begins with a number is a migration; `jarvis-gateway usage migrate` applies them in order. Each statement
-- does nothing when it is run again. By hand: clickhouse-client --database usage --multiquery < 0001_records.sql
--
-- The gateway inserts with a token for each batch. *_deduplication_window is how many inserts back a table remembers: a batch
-- that comes again, because its answer was lost, is left out. Retention is set by the gateway (usage.keep), as a TTL.

CREATE TABLE IF NOT EXISTS migrations
(
    "version" UInt32,
    "name"    String,
    "applied" DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY version;

-- Ordered for questions of one tenant and a time; the skip indexes find single requests.
CREATE TABLE IF NOT EXISTS requests
(
    "uid"                   UUID,
    "time"                  DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    "id"                    String CODEC(ZSTD(1)),
    "tenant"                LowCardinality(String),
    "team"                  LowCardinality(String),
    "key"                   LowCardinality(String),
    "user"                  String CODEC(ZSTD(1)),
    "scene"                 LowCardinality(String),
    "tags"                  Array(LowCardinality(String)),
    "endpoint"              LowCardinality(String),
    "stream"                Bool,
    "asked"                 LowCardinality(String),
    "model"                 LowCardinality(String),
    "provider"              LowCardinality(String),
    "served"                LowCardinality(String),
    "replica"               LowCardinality(String),
    "region"                LowCardinality(String),
    "route"                 LowCardinality(String),
    "rollout"               LowCardinality(String),
    "arm"                   LowCardinality(String),
    "cache"                 LowCardinality(String),
    "similarity"            Float64 CODEC(ZSTD(1)),
    "prompt"                LowCardinality(String),
    "corpus"                LowCardinality(String),
    "flow"                  LowCardinality(String),
    "prompt_tokens"         Int64 CODEC(T64, ZSTD(1)),
    "completion_tokens"     Int64 CODEC(T64, ZSTD(1)),
    "cached_tokens"         Int64 CODEC(T64, ZSTD(1)),
    "cache_write_tokens"    Int64 CODEC(T64, ZSTD(1)),
    "cache_write_1h_tokens" Int64 CODEC(T64, ZSTD(1)),
    "reasoning_tokens"      Int64 CODEC(T64, ZSTD(1)),
    "audio_tokens"          Int64 CODEC(T64, ZSTD(1)),
    "audio_out_tokens"      Int64 CODEC(T64, ZSTD(1)),
    "image_in_tokens"       Int64 CODEC(T64, ZSTD(1)),
    "images"                Int64 CODEC(T64, ZSTD(1)),
    "audio_ms"              Int64 CODEC(T64, ZSTD(1)),
    "characters"            Int64 CODEC(T64, ZSTD(1)),
    "tier"                  LowCardinality(String),
    "estimated"             Bool,
    "cost_nano"             Int64 CODEC(T64, ZSTD(1)),
    "saved_nano"            Int64 CODEC(T64, ZSTD(1)),
    "price"                 LowCardinality(String),
    "queued_us"             Int64 CODEC(T64, ZSTD(1)),
    "first_us"              Int64 CODEC(T64, ZSTD(1)),
    "upstream_us"           Int64 CODEC(T64, ZSTD(1)),
    "overhead_us"           Int64 CODEC(T64, ZSTD(1)),
    "total_us"              Int64 CODEC(T64, ZSTD(1)),
    "status"                UInt16 CODEC(T64, ZSTD(1)),
    "outcome"               LowCardinality(String),
    "code"                  LowCardinality(String),
    "finish"                LowCardinality(String),
    "gone"                  Bool,
    "interrupted"           Bool,
    "bytes_in"              Int64 CODEC(T64, ZSTD(1)),
    "bytes_out"             Int64 CODEC(T64, ZSTD(1)),
    "attempts"              UInt16 CODEC(T64, ZSTD(1)),
    INDEX by_uid "uid" TYPE bloom_filter GRANULARITY 4,
    INDEX by_id "id" TYPE bloom_filter GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM("time")
PRIMARY KEY ("tenant", "time")
ORDER BY ("tenant", "time", "uid")
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS attempts
(
    "uid"                   UUID,
    "seq"                   UInt16 CODEC(T64, ZSTD(1)),
    "time"                  DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    "tenant"                LowCardinality(String),
    "model"                 LowCardinality(String),
    "kind"                  LowCardinality(String),
    "provider"              LowCardinality(String),
    "served"                LowCardinality(String),
    "replica"               LowCardinality(String),
    "region"                LowCardinality(String),
    "result"                LowCardinality(String),
    "begun_us"              Int64 CODEC(T64, ZSTD(1)),
    "first_us"              Int64 CODEC(T64, ZSTD(1)),
    "prompt_tokens"         Int64 CODEC(T64, ZSTD(1)),
    "completion_tokens"     Int64 CODEC(T64, ZSTD(1)),
    "cached_tokens"         Int64 CODEC(T64, ZSTD(1)),
    "cache_write_tokens"    Int64 CODEC(T64, ZSTD(1)),
    "cache_write_1h_tokens" Int64 CODEC(T64, ZSTD(1)),
    "reasoning_tokens"      Int64 CODEC(T64, ZSTD(1)),
    "audio_tokens"          Int64 CODEC(T64, ZSTD(1)),
    "audio_out_tokens"      Int64 CODEC(T64, ZSTD(1)),
    "image_in_tokens"       Int64 CODEC(T64, ZSTD(1)),
    "images"                Int64 CODEC(T64, ZSTD(1)),
    "audio_ms"              Int64 CODEC(T64, ZSTD(1)),
    "characters"            Int64 CODEC(T64, ZSTD(1)),
    "tier"                  LowCardinality(String),
    "estimated"             Bool,
    "cost_nano"             Int64 CODEC(T64, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM("time")
PRIMARY KEY ("tenant", "time")
ORDER BY ("tenant", "time", "uid", "seq")
SETTINGS non_replicated_deduplication_window = 10000;

-- The latest of a request counts: ask with FINAL.
CREATE TABLE IF NOT EXISTS feedback
(
    "uid"      UUID,
    "time"     DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    "request"  String CODEC(ZSTD(1)),
    "of"       UUID,
    "tenant"   LowCardinality(String),
    "key"      LowCardinality(String),
    "user"     String CODEC(ZSTD(1)),
    "score"    Float64 CODEC(ZSTD(1)),
    "comment"  String CODEC(ZSTD(6)),
    "metadata" String CODEC(ZSTD(6)),
    "model"    LowCardinality(String),
    "prompt"   LowCardinality(String),
    "rollout"  LowCardinality(String),
    "arm"      LowCardinality(String)
)
ENGINE = ReplacingMergeTree("time")
ORDER BY ("tenant", "request", "of")
SETTINGS non_replicated_deduplication_window = 10000;

-- What was said, masked, of tenants with log_prompts. Its days are dropped whole.
CREATE TABLE IF NOT EXISTS contents
(
    "uid"      UUID,
    "time"     DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    "tenant"   LowCardinality(String),
    "id"       String CODEC(ZSTD(1)),
    "asked"    String CODEC(ZSTD(6)),
    "answered" String CODEC(ZSTD(6)),
    INDEX by_uid "uid" TYPE bloom_filter GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD("time")
PRIMARY KEY ("tenant", "time")
ORDER BY ("tenant", "time", "uid")
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;
