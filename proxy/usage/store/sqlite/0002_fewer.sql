-- A record has a number of its own, its uid in 16 bytes, and says what its attempts came to. Batches that are large have the ids of
-- their records in ids: an index of ids is written to all over.

DROP VIEW requests;
DROP VIEW attempts;
DROP INDEX records_spot;
DROP INDEX records_caller;
ALTER TABLE records RENAME TO records_1;

CREATE TABLE records (
    "record"             INTEGER PRIMARY KEY, -- in the order of writing
    "time"               INTEGER,
    "uid"                BLOB,
    "spot"               INTEGER, -- where the id is looked up (see spotOf); NULL: in ids
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
    "fell"               INTEGER, -- 1: another provider, or a fallback, was asked after a failure
    "retried"            INTEGER, -- how often
    "attempt_begun_us"   INTEGER, -- of the only attempt, which has its numbers here; NULL: they are in further_attempts
    "attempt_heard_us"   INTEGER -- another name than before: a gateway that still runs and knows only 0001 keeps what it has in its spool
);

INSERT INTO records ("time", "uid", "spot", "caller", "way", "id", "user", "scene", "tags", "asked", "prompt_tokens", "completion_tokens", "cached_tokens",
    "cache_write_tokens", "reasoning_tokens", "rare", "cost_nano", "saved_nano", "queued_us", "first_us", "upstream_us", "overhead_us", "total_us",
    "bytes_in", "bytes_out", "fell", "retried", "attempt_begun_us", "attempt_heard_us")
SELECT r."time", unhex(r."uid", '-'), "spot", "caller", "way", "id", "user", "scene", "tags", "asked", "prompt_tokens", "completion_tokens", "cached_tokens",
    "cache_write_tokens", "reasoning_tokens", "rare", "cost_nano", "saved_nano", "queued_us", "first_us", "upstream_us", "overhead_us", "total_us",
    "bytes_in", "bytes_out", coalesce(t."fell", 0), coalesce(t."retried", 0), "attempt_begun_us", "attempt_first_us"
FROM records_1 AS r LEFT JOIN (
    SELECT "uid", max("kind" = 'fallback') OR min("provider") <> max("provider") AS "fell", sum("kind" = 'retry') AS "retried"
    FROM further_attempts WHERE "kind" IN ('first', 'retry', 'failover', 'fallback', 'continue')
    GROUP BY "uid" HAVING max("kind" <> 'first')
) AS t ON t."uid" = r."uid"
ORDER BY r."time", r."uid";

DROP TABLE records_1;
CREATE UNIQUE INDEX records_time ON records ("time", "uid");
CREATE INDEX records_caller ON records ("caller", "time");
CREATE INDEX records_spot ON records ("spot") WHERE "spot" IS NOT NULL;

-- Sums of ids, 16 bits each, of records whose numbers follow each other. It goes when the last of them does.
CREATE TABLE ids (
    "first" INTEGER PRIMARY KEY, -- the number of the first
    "since" INTEGER NOT NULL,    -- the time of the oldest
    "until" INTEGER NOT NULL,    -- and of the newest
    "sums"  BLOB NOT NULL
);

-- CROSS JOIN has SQLite look for records first, by their time or caller.
CREATE VIEW requests AS
SELECT
    lower(hex(substr(r."uid", 1, 4)) || '-' || hex(substr(r."uid", 5, 2)) || '-' || hex(substr(r."uid", 7, 2)) || '-' ||
        hex(substr(r."uid", 9, 2)) || '-' || hex(substr(r."uid", 11))) AS "uid",
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
    r."spot",
    r."record"
FROM records AS r JOIN callers AS c ON c."caller" = r."caller" CROSS JOIN ways AS w ON w."way" = r."way";

CREATE VIEW attempts AS
SELECT
    lower(hex(substr(r."uid", 1, 4)) || '-' || hex(substr(r."uid", 5, 2)) || '-' || hex(substr(r."uid", 7, 2)) || '-' ||
        hex(substr(r."uid", 9, 2)) || '-' || hex(substr(r."uid", 11))) AS "uid",
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
    r."attempt_heard_us" AS "first_us",
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
