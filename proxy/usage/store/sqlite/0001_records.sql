-- The same columns as in configs/clickhouse: requests and attempts are views. Times are microseconds since 1970, money is nano-dollars,
-- tags are JSON.

-- What a request has for itself. What it shares with many others is in callers and ways: it takes less than half of the
-- disk then, and a fifth of the time to write. There are no constraints here: each would be looked at for every row.
CREATE TABLE records (
    "time"               INTEGER,
    "uid"                TEXT,
    "spot"               INTEGER, -- where the id is looked up: see spotOf
    "caller"             INTEGER,
    "way"                INTEGER,
    "id"                 TEXT,
    "user"               TEXT, -- NULL: none; so are scene and tags
    "scene"              TEXT,
    "tags"               TEXT,
    "asked"              TEXT, -- NULL: as the way's model
    "prompt_tokens"      INTEGER,
    "completion_tokens"  INTEGER,
    "cached_tokens"      INTEGER,
    "cache_write_tokens" INTEGER,
    "reasoning_tokens"   INTEGER,
    "rare"               TEXT, -- JSON of columns that are hardly ever more than 0; NULL: all are
    "cost_nano"          INTEGER,
    "saved_nano"         INTEGER,
    "queued_us"          INTEGER,
    "first_us"           INTEGER,
    "upstream_us"        INTEGER,
    "overhead_us"        INTEGER,
    "total_us"           INTEGER,
    "bytes_in"           INTEGER,
    "bytes_out"          INTEGER,
    "attempt_begun_us"   INTEGER, -- of the only attempt, which has its numbers here; NULL: they are in further_attempts
    "attempt_first_us"   INTEGER
);
CREATE UNIQUE INDEX records_time ON records ("time", "uid");
CREATE INDEX records_caller ON records ("caller", "time");
CREATE INDEX records_spot ON records ("spot");

-- Rows go when the last record does that has them: seen is not before its time.
CREATE TABLE callers (
    "caller" INTEGER PRIMARY KEY,
    "tenant" TEXT NOT NULL,
    "team"   TEXT NOT NULL,
    "key"    TEXT NOT NULL,
    "seen"   INTEGER NOT NULL,
    UNIQUE ("tenant", "team", "key")
);

CREATE TABLE ways (
    "way"            INTEGER PRIMARY KEY,
    "endpoint"       TEXT NOT NULL,
    "model"          TEXT NOT NULL,
    "provider"       TEXT NOT NULL,
    "served"         TEXT NOT NULL,
    "replica"        TEXT NOT NULL,
    "region"         TEXT NOT NULL,
    "route"          TEXT NOT NULL,
    "rollout"        TEXT NOT NULL,
    "arm"            TEXT NOT NULL,
    "cache"          TEXT NOT NULL,
    "prompt"         TEXT NOT NULL,
    "corpus"         TEXT NOT NULL,
    "flow"           TEXT NOT NULL,
    "tier"           TEXT NOT NULL,
    "price"          TEXT NOT NULL,
    "outcome"        TEXT NOT NULL,
    "code"           TEXT NOT NULL,
    "finish"         TEXT NOT NULL,
    "attempt_result" TEXT NOT NULL, -- of the only attempt
    "stream"         INTEGER NOT NULL,
    "estimated"      INTEGER NOT NULL,
    "status"         INTEGER NOT NULL,
    "gone"           INTEGER NOT NULL,
    "interrupted"    INTEGER NOT NULL,
    "attempts"       INTEGER NOT NULL,
    "seen"           INTEGER NOT NULL,
    UNIQUE ("endpoint", "model", "provider", "served", "replica", "region", "route", "rollout", "arm", "cache", "prompt", "corpus", "flow",
        "tier", "price", "outcome", "code", "finish", "attempt_result", "stream", "estimated", "status", "gone", "interrupted", "attempts")
);

-- CROSS JOIN has SQLite look for records first, by their time or caller.
CREATE VIEW requests AS
SELECT
    r."uid",
    r."time",
    r."id",
    c."tenant",
    c."team",
    c."key",
    coalesce(r."user", '') AS "user",
    coalesce(r."scene", '') AS "scene",
    coalesce(r."tags", '[]') AS "tags",
    w."endpoint",
    w."stream",
    coalesce(r."asked", w."model") AS "asked",
    w."model",
    w."provider",
    w."served",
    w."replica",
    w."region",
    w."route",
    w."rollout",
    w."arm",
    w."cache",
    coalesce(r."rare" ->> 'similarity', 0.0) AS "similarity",
    w."prompt",
    w."corpus",
    w."flow",
    r."prompt_tokens",
    r."completion_tokens",
    r."cached_tokens",
    r."cache_write_tokens",
    coalesce(r."rare" ->> 'cache_write_1h_tokens', 0) AS "cache_write_1h_tokens",
    r."reasoning_tokens",
    coalesce(r."rare" ->> 'audio_tokens', 0) AS "audio_tokens",
    coalesce(r."rare" ->> 'audio_out_tokens', 0) AS "audio_out_tokens",
    coalesce(r."rare" ->> 'image_in_tokens', 0) AS "image_in_tokens",
    coalesce(r."rare" ->> 'images', 0) AS "images",
    coalesce(r."rare" ->> 'audio_ms', 0) AS "audio_ms",
    coalesce(r."rare" ->> 'characters', 0) AS "characters",
    w."tier",
    w."estimated",
    r."cost_nano",
    r."saved_nano",
    w."price",
    r."queued_us",
    r."first_us",
    r."upstream_us",
    r."overhead_us",
    r."total_us",
    w."status",
    w."outcome",
    w."code",
    w."finish",
    w."gone",
    w."interrupted",
    r."bytes_in",
    r."bytes_out",
    w."attempts",
    r."spot"
FROM records AS r JOIN callers AS c ON c."caller" = r."caller" CROSS JOIN ways AS w ON w."way" = r."way";

-- Attempts of requests that took more than one, or whose only one has other numbers than the request, which arrived before.
CREATE TABLE further_attempts (
    "uid"                   TEXT NOT NULL,
    "seq"                   INTEGER NOT NULL,
    "time"                  INTEGER NOT NULL,
    "tenant"                TEXT NOT NULL,
    "model"                 TEXT NOT NULL,
    "kind"                  TEXT NOT NULL,
    "provider"              TEXT NOT NULL,
    "served"                TEXT NOT NULL,
    "replica"               TEXT NOT NULL,
    "region"                TEXT NOT NULL,
    "result"                TEXT NOT NULL,
    "begun_us"              INTEGER NOT NULL,
    "first_us"              INTEGER NOT NULL,
    "prompt_tokens"         INTEGER NOT NULL,
    "completion_tokens"     INTEGER NOT NULL,
    "cached_tokens"         INTEGER NOT NULL,
    "cache_write_tokens"    INTEGER NOT NULL,
    "cache_write_1h_tokens" INTEGER NOT NULL,
    "reasoning_tokens"      INTEGER NOT NULL,
    "audio_tokens"          INTEGER NOT NULL,
    "audio_out_tokens"      INTEGER NOT NULL,
    "image_in_tokens"       INTEGER NOT NULL,
    "images"                INTEGER NOT NULL,
    "audio_ms"              INTEGER NOT NULL,
    "characters"            INTEGER NOT NULL,
    "tier"                  TEXT NOT NULL,
    "estimated"             INTEGER NOT NULL,
    "cost_nano"             INTEGER NOT NULL,
    "arrived"               INTEGER NOT NULL,
    UNIQUE ("time", "uid", "seq")
);

CREATE VIEW attempts AS
SELECT
    r."uid",
    1 AS "seq",
    r."time" + r."attempt_begun_us" AS "time",
    c."tenant",
    w."model",
    'first' AS "kind",
    w."provider",
    w."served",
    w."replica",
    w."region",
    w."attempt_result" AS "result",
    r."attempt_begun_us" AS "begun_us",
    r."attempt_first_us" AS "first_us",
    r."prompt_tokens",
    r."completion_tokens",
    r."cached_tokens",
    r."cache_write_tokens",
    coalesce(r."rare" ->> 'cache_write_1h_tokens', 0) AS "cache_write_1h_tokens",
    r."reasoning_tokens",
    coalesce(r."rare" ->> 'audio_tokens', 0) AS "audio_tokens",
    coalesce(r."rare" ->> 'audio_out_tokens', 0) AS "audio_out_tokens",
    coalesce(r."rare" ->> 'image_in_tokens', 0) AS "image_in_tokens",
    coalesce(r."rare" ->> 'images', 0) AS "images",
    coalesce(r."rare" ->> 'audio_ms', 0) AS "audio_ms",
    coalesce(r."rare" ->> 'characters', 0) AS "characters",
    w."tier",
    w."estimated",
    r."cost_nano",
    r."time" AS "arrived"
FROM records AS r JOIN callers AS c ON c."caller" = r."caller" CROSS JOIN ways AS w ON w."way" = r."way"
WHERE r."attempt_begun_us" IS NOT NULL
UNION ALL SELECT * FROM further_attempts;

-- The latest of a request counts, and replaces what was said before.
CREATE TABLE feedback (
    "uid"      TEXT NOT NULL,
    "time"     INTEGER NOT NULL,
    "request"  TEXT NOT NULL,
    "of"       TEXT NOT NULL,
    "tenant"   TEXT NOT NULL,
    "key"      TEXT NOT NULL,
    "user"     TEXT NOT NULL,
    "score"    REAL NOT NULL,
    "comment"  TEXT NOT NULL,
    "metadata" TEXT NOT NULL,
    "model"    TEXT NOT NULL,
    "prompt"   TEXT NOT NULL,
    "rollout"  TEXT NOT NULL,
    "arm"      TEXT NOT NULL,
    PRIMARY KEY ("tenant", "request", "of")
);
CREATE INDEX feedback_time ON feedback ("time");

CREATE TABLE contents (
    "uid"      TEXT NOT NULL,
    "time"     INTEGER NOT NULL,
    "tenant"   TEXT NOT NULL,
    "id"       TEXT NOT NULL,
    "asked"    TEXT NOT NULL,
    "answered" TEXT NOT NULL,
    PRIMARY KEY ("uid")
);
CREATE INDEX contents_time ON contents ("time");
