package state

import (
	"database/sql"
	"time"
)

// purged is how many rows of a table one transaction deletes: those who write wait for it.
const purged = 256

// keysKept is how long a key that works no more can still be listed.
const keysKept = 30 * 24 * time.Hour

// purge deletes some of what has expired and tells whether there may be more.
func (s *Store) purge() (more bool) {
	ctx, cancel := s.within(s.ctx)
	defer cancel()
	err := s.transact(ctx, func(tx *sql.Tx) error {
		if s.inTurn != "" {
			if _, err := tx.ExecContext(ctx, s.inTurn); err != nil {
				return err
			}
		}
		for _, old := range s.expired() {
			n, err := affected(tx.ExecContext(ctx, old.statement, old.args...))
			if err != nil {
				return err
			}
			more = more || n == purged
		}
		return nil
	})
	return more && err == nil // what fails is tried again at the next tick: nobody sees what has expired
}

type expiry struct {
	statement string
	args      []any
}

func (s *Store) expired() []expiry {
	now := s.now()
	list := []expiry{
		{`DELETE FROM responses WHERE id IN (SELECT id FROM responses WHERE expires > 0 AND expires <= $1 LIMIT $2)`, []any{millis(now), purged}},
		{`DELETE FROM once WHERE name IN (SELECT name FROM once WHERE until <= $1 LIMIT $2)`, []any{millis(now.Add(-onceKept)), purged}},
		{`DELETE FROM pending WHERE id IN (SELECT id FROM pending WHERE due <= $1 AND claim <> '' LIMIT $2)`, []any{millis(now), purged}},
		{`DELETE FROM keys WHERE id IN (SELECT id FROM keys WHERE expires > 0 AND expires <= $1 OR revoked > 0 AND revoked <= $1 LIMIT $2)`,
			[]any{millis(now.Add(-keysKept)), purged}},
	}
	if kept := time.Duration(s.retain.Load()); kept > 0 {
		list = append(list, outdated(now.Add(-kept))...)
	}
	return list
}

// outdated moves the mark behind which audit entries may be deleted, if there are any, and deletes some.
func outdated(before time.Time) []expiry {
	return []expiry{
		{`UPDATE tally SET kept_since = $1 WHERE kept_since < $1 AND EXISTS (SELECT 1 FROM audit WHERE at < $1)`, []any{millis(before)}},
		{`DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < $1 ORDER BY at LIMIT $2)`, []any{millis(before), purged}},
	}
}
