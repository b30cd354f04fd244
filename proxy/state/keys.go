package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const keyColumns = `id, tenant, name, team, role, digest, hint, limits, created, expires, revoked, replaced, maker`

// mostKeys is how many keys of a tenant may work at a time, and how many that work no more are kept to be listed: every gateway
// has them all in memory.
const mostKeys = 10_000

// AddKey makes a key. Its tenant must be in the directory, or declared elsewhere: in the config file. Its name must be free
// among the tenant's keys that work and were not replaced, its ID and digest among all.
func (s *Store) AddKey(ctx context.Context, k Key, declared bool, e Entry) error {
	if err := k.check(); err != nil {
		return err
	}
	return s.change(ctx, e, func(ctx context.Context, tx *sql.Tx, _ *Entry) error {
		known, err := exists(ctx, tx, `SELECT 1 FROM tenants WHERE name = $1`, k.Tenant)
		if err != nil {
			return err
		}
		if !known && !declared {
			return fmt.Errorf("tenant %q: %w", k.Tenant, ErrNoTenant)
		}
		return s.insert(ctx, tx, k)
	})
}

// RotateKey makes a key that takes the place of another of its tenant, which works until the overlap ends, or until it would
// have expired anyway. It may have the other's name.
func (s *Store) RotateKey(ctx context.Context, old string, next Key, overlap time.Time, e Entry) error {
	if err := next.check(); err != nil {
		return err
	}
	return s.change(ctx, e, func(ctx context.Context, tx *sql.Tx, _ *Entry) error {
		k, err := s.key(ctx, tx, old)
		switch {
		case err != nil:
			return err
		case k.Tenant != next.Tenant:
			return fmt.Errorf("key %q: %w", old, ErrNoKey)
		case k.Replaced != "" || !k.Works(s.now()):
			return fmt.Errorf("key %q: %w", old, ErrEnded)
		case k.Expires.IsZero() || overlap.Before(k.Expires):
			k.Expires = overlap
		}
		if _, err := tx.ExecContext(ctx, `UPDATE keys SET replaced = $2, expires = $3 WHERE id = $1`, old, next.ID, millis(k.Expires)); err != nil {
			return err
		}
		return s.insert(ctx, tx, next)
	})
}

// ExpireKey has a key end at a time, or never: the zero time. One that works no more stays so, and one that was replaced can
// only end earlier.
func (s *Store) ExpireKey(ctx context.Context, id string, at time.Time, e Entry) error {
	return s.change(ctx, e, func(ctx context.Context, tx *sql.Tx, _ *Entry) error {
		k, err := s.key(ctx, tx, id)
		if err != nil {
			return err
		}
		if !k.Works(s.now()) || k.Replaced != "" && (at.IsZero() || at.After(k.Expires)) {
			return fmt.Errorf("key %q: %w", id, ErrEnded)
		}
		_, err = tx.ExecContext(ctx, `UPDATE keys SET expires = $2 WHERE id = $1`, id, millis(at))
		return err
	})
}

// RevokeKey ends a key for good. To revoke it again is no error, and keeps the time of the first.
func (s *Store) RevokeKey(ctx context.Context, id string, e Entry) error {
	return s.change(ctx, e, func(ctx context.Context, tx *sql.Tx, _ *Entry) error {
		n, err := affected(tx.ExecContext(ctx, `UPDATE keys SET revoked = CASE WHEN revoked = 0 THEN $2 ELSE revoked END WHERE id = $1`,
			id, millis(s.now())))
		return none(n, err, "key", id, ErrNoKey)
	})
}

func (k *Key) check() error {
	switch {
	case !sayable(k.ID, k.Tenant, k.Name, k.Team, k.Role, k.Hint, k.By):
		return errors.New("a key: its names must be text")
	case k.ID == "" || k.Tenant == "" || k.Name == "":
		return errors.New("a key: it must have an ID, a tenant and a name")
	case k.Digest == [32]byte{}:
		return fmt.Errorf("key %q: it has no digest", k.ID)
	}
	return nil
}

func (s *Store) insert(ctx context.Context, tx *sql.Tx, k Key) error {
	now := s.now()
	taken, err := working(ctx, tx, now, `tenant = $2 AND name = $3 AND replaced = ''`, k.Tenant, k.Name)
	if err != nil {
		return err
	}
	if taken {
		return fmt.Errorf("key %q of tenant %q: %w", k.Name, k.Tenant, ErrExists)
	}
	if err := s.room(ctx, tx, now, k.Tenant); err != nil {
		return err
	}
	n, err := affected(tx.ExecContext(ctx, `
		INSERT INTO keys (`+keyColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, '', $11) ON CONFLICT DO NOTHING`,
		k.ID, k.Tenant, k.Name, k.Team, k.Role, k.Digest[:], k.Hint, k.Limits, millis(now), millis(k.Expires), k.By))
	return none(n, err, "key", k.ID, ErrExists)
}

// room makes room for one key more of a tenant. Who makes keys and revokes them does not fill the memory of the gateways with
// those that are gone.
func (s *Store) room(ctx context.Context, tx *sql.Tx, now time.Time, tenant string) error {
	var all, live int
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*), COUNT(CASE WHEN `+works+` THEN 1 END) FROM keys WHERE tenant = $2`, millis(now), tenant).Scan(&all, &live)
	switch {
	case err != nil:
		return err
	case live >= s.mostKeys:
		return fmt.Errorf("tenant %q: %w", tenant, ErrFull)
	case all-live <= s.mostKeys:
		return nil
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM keys WHERE id IN (SELECT id FROM keys WHERE NOT (`+works+`) AND tenant = $2 ORDER BY created LIMIT $3)`,
		millis(now), tenant, all-live-s.mostKeys)
	return err
}

func (s *Store) key(ctx context.Context, tx *sql.Tx, id string) (Key, error) {
	list, err := collect(ctx, tx, scanKey, `SELECT `+keyColumns+` FROM keys WHERE id = $1`, id)
	if err == nil && len(list) == 0 {
		return Key{}, fmt.Errorf("key %q: %w", id, ErrNoKey)
	}
	if err != nil {
		return Key{}, err
	}
	return list[0], nil
}

// works holds for keys that work at the time $1.
const works = `revoked = 0 AND (expires = 0 OR expires > $1)`

// working tells whether there is a key that works and for which more holds.
func working(ctx context.Context, tx *sql.Tx, now time.Time, more string, args ...any) (bool, error) {
	return exists(ctx, tx, `SELECT 1 FROM keys WHERE `+works+` AND `+more,
		append([]any{millis(now)}, args...)...)
}

func exists(ctx context.Context, tx *sql.Tx, query string, args ...any) (found bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (`+query+`)`, args...).Scan(&found)
	return found, err
}

func scanKey(rows *sql.Rows) (k Key, err error) {
	var digest []byte
	var created, expires, revoked int64
	err = rows.Scan(&k.ID, &k.Tenant, &k.Name, &k.Team, &k.Role, &digest, &k.Hint, &k.Limits, &created, &expires, &revoked, &k.Replaced, &k.By)
	copy(k.Digest[:], digest)
	k.Created, k.Expires, k.Revoked = date(created), date(expires), date(revoked)
	return k, err
}
