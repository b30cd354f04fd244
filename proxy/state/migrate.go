package state

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// migration is one step of the tables: first what both engines understand, but for names of types, then each engine's own.
type migration struct{ both, sqlite, postgres string }

// migrations make the tables, each from what the one before has left. One that was released is never changed.
//
// tally has one row: the revision of the directory and the number of the last audit entry. Whoever changes either holds it
// until the end of the transaction, so that numbers appear in their order: a reader that has seen 7 will not find a 6 later.
//
// The audit log's triggers refuse to change an entry, and to delete one that is not older than kept_since. Retention sets that
// mark and then deletes, in one transaction: the mark says from when on the log is whole. They are there against mistakes and
// smuggled SQL; whoever owns the database can drop them.
var migrations = []migration{
	{both: `CREATE TABLE responses (
		id       TEXT PRIMARY KEY,
		tenant   TEXT NOT NULL,
		provider TEXT NOT NULL,
		previous TEXT NOT NULL,
		body     BLOB,
		input    BLOB,
		output   BLOB,
		created  BIGINT NOT NULL,
		expires  BIGINT NOT NULL
	);
	CREATE INDEX responses_expires ON responses (expires) WHERE expires > 0`},

	{both: `CREATE TABLE tally (
		one        BIGINT PRIMARY KEY CHECK (one = 1),
		directory  BIGINT NOT NULL,
		audit      BIGINT NOT NULL,
		kept_since BIGINT NOT NULL
	);
	INSERT INTO tally (one, directory, audit, kept_since) VALUES (1, 0, 0, 0);
	CREATE TABLE tenants (
		name    TEXT PRIMARY KEY,
		config  BLOB NOT NULL,
		created BIGINT NOT NULL,
		updated BIGINT NOT NULL
	);
	CREATE TABLE keys (
		id       TEXT PRIMARY KEY,
		tenant   TEXT NOT NULL,
		name     TEXT NOT NULL,
		team     TEXT NOT NULL,
		role     TEXT NOT NULL,
		digest   BLOB NOT NULL UNIQUE CHECK (LENGTH(digest) = 32),
		hint     TEXT NOT NULL,
		limits   BLOB,
		created  BIGINT NOT NULL,
		expires  BIGINT NOT NULL,
		revoked  BIGINT NOT NULL,
		replaced TEXT NOT NULL,
		maker    TEXT NOT NULL
	);
	CREATE INDEX keys_tenant ON keys (tenant, name);
	CREATE INDEX keys_expires ON keys (expires) WHERE expires > 0;
	CREATE INDEX keys_revoked ON keys (revoked) WHERE revoked > 0;
	CREATE TABLE audit (
		seq     BIGINT PRIMARY KEY,
		at      BIGINT NOT NULL,
		kind    TEXT NOT NULL,
		actor   TEXT NOT NULL,
		action  TEXT NOT NULL,
		tenant  TEXT NOT NULL,
		target  TEXT NOT NULL,
		source  TEXT NOT NULL,
		request TEXT NOT NULL,
		repeats BIGINT NOT NULL,
		before  BLOB,
		after   BLOB
	);
	CREATE INDEX responses_tenant ON responses (tenant);
	CREATE INDEX audit_at ON audit (at);
	CREATE INDEX audit_tenant ON audit (tenant, seq);
	CREATE TABLE once (
		name  TEXT PRIMARY KEY,
		until BIGINT NOT NULL
	);
	CREATE INDEX once_until ON once (until);`,
		sqlite: `
	CREATE TRIGGER audit_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq)
		BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
	CREATE TRIGGER audit_update BEFORE UPDATE ON audit
		BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
	CREATE TRIGGER audit_delete BEFORE DELETE ON audit WHEN OLD.at >= (SELECT kept_since FROM tally)
		BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END`,
		postgres: `
	CREATE FUNCTION audit_keep() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
	BEGIN
		IF TG_OP = 'DELETE' THEN
			IF OLD.at < (SELECT kept_since FROM tally) THEN
				RETURN OLD;
			END IF;
		END IF;
		RAISE EXCEPTION 'the audit log is append-only';
	END $$;
	CREATE TRIGGER audit_change BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_keep();
	CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_keep()`},

	{both: `CREATE TABLE stock (
		scope TEXT NOT NULL,
		unit  TEXT NOT NULL,
		n     BIGINT NOT NULL CHECK (n > 0),
		PRIMARY KEY (scope, unit)
	)`},

	{both: `CREATE TABLE config_versions (
		id       BIGINT PRIMARY KEY,
		sha256   TEXT NOT NULL,
		at       BIGINT NOT NULL,
		author   TEXT NOT NULL,
		restores BIGINT NOT NULL,
		files    BLOB NOT NULL
	);
	CREATE TABLE config_pin (
		one     BIGINT PRIMARY KEY CHECK (one = 1),
		salt    BLOB NOT NULL,
		version BIGINT NOT NULL,
		files   TEXT NOT NULL,
		author  TEXT NOT NULL,
		at      BIGINT NOT NULL,
		ended   BIGINT NOT NULL
	)`},

	{both: `CREATE TABLE rollouts (
		model   TEXT NOT NULL,
		spec    TEXT NOT NULL,
		turn    BIGINT NOT NULL,
		step    BIGINT NOT NULL,
		percent DOUBLE PRECISION NOT NULL,
		since   BIGINT NOT NULL,
		halted  TEXT NOT NULL,
		PRIMARY KEY (model, spec)
	)`},

	{both: `CREATE TABLE forced_targets (
		model    TEXT NOT NULL,
		provider TEXT NOT NULL,
		served   TEXT NOT NULL,
		state    TEXT NOT NULL,
		turn     BIGINT NOT NULL,
		PRIMARY KEY (model, provider, served)
	)`},

	{both: `CREATE TABLE pending (
		id     TEXT PRIMARY KEY,
		tenant TEXT NOT NULL,
		record BLOB NOT NULL,
		due    BIGINT NOT NULL
	);
	CREATE INDEX pending_due ON pending (due)`},

	{both: `ALTER TABLE pending ADD COLUMN claim TEXT NOT NULL DEFAULT ''`},
}

// migrate brings the tables up to date. Gateways that do it at once take turns.
func (e *engine) migrate(ctx context.Context) error {
	err := e.migrating(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)`)
		return err
	})
	for next := 0; err == nil && next <= len(migrations); next++ {
		err = e.migrating(ctx, func(tx *sql.Tx) error { return e.migrateTo(ctx, tx, next) })
	}
	return err
}

// migrating makes a transaction. Of gateways that open a new file at once, one may find it locked by another that is changing its
// journal, for which SQLite does not wait.
func (e *engine) migrating(ctx context.Context, do func(*sql.Tx) error) error {
	end := time.Now().Add(lockedFor)
	for {
		err := e.migrateOnce(ctx, do)
		if !isLocked(err) || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

const lockedFor = 5 * time.Second

func (e *engine) migrateOnce(ctx context.Context, do func(*sql.Tx) error) error {
	return e.transact(ctx, func(tx *sql.Tx) error {
		if e.alone != "" {
			if _, err := tx.ExecContext(ctx, e.alone); err != nil {
				return err
			}
		}
		return do(tx)
	})
}

// migrateTo makes one step, if it is the next.
func (e *engine) migrateTo(ctx context.Context, tx *sql.Tx, next int) error {
	version := 0
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_version`).Scan(&version); err != nil {
		return err
	}
	switch {
	case version > len(migrations):
		return fmt.Errorf("a newer gateway wrote it (version %d of its tables, this gateway knows %d): run the newer one, or put a copy from before it back", version, len(migrations))
	case version >= next:
		return nil
	}
	if _, err := tx.ExecContext(ctx, e.words(migrations[next-1])); err != nil {
		return fmt.Errorf("migration %d: %w", next, err)
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf(`INSERT INTO schema_version (version) VALUES (%d)`, next))
	return err
}
