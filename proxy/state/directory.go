package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Tenant is a tenant that was made at run time.
type Tenant struct {
	Name             string
	Config           []byte // a JSON object
	Created, Updated time.Time
}

// Key is a key that was made at run time. The key itself is nowhere: only its digest is kept.
type Key struct {
	ID, Tenant, Name, Team, Role string

	Digest                    [32]byte
	Hint                      string // the key's last characters, to tell it from others
	Limits                    []byte // JSON, nil for none of its own
	Created, Expires, Revoked time.Time
	Replaced                  string // the key that took its place
	By                        string // who made it
}

// Works tells whether the key may still be used.
func (k *Key) Works(now time.Time) bool {
	return k.Revoked.IsZero() && (k.Expires.IsZero() || now.Before(k.Expires))
}

// Directory is all tenants and keys as they were at one moment. Keys that work no more are in it for another month.
type Directory struct {
	Tenants  []Tenant
	Keys     []Key
	Revision int64
}

// The errors of changes of the directory.
var (
	ErrExists   = errors.New("it exists already")
	ErrNoTenant = errors.New("no such tenant")
	ErrNoKey    = errors.New("no such key")
	ErrChanged  = errors.New("it was changed meanwhile")
	ErrEnded    = errors.New("the key has expired, was revoked or was replaced")
	ErrFull     = errors.New("the tenant has too many keys that work")
)

// Revision is another number after each change of the directory, whoever made it.
func (s *Store) Revision(ctx context.Context) (revision int64, err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	err = s.db.QueryRowContext(ctx, `SELECT directory FROM tally`).Scan(&revision)
	return revision, outOfTime(ctx, err)
}

// Directory reads all tenants, by name, and all keys, in the order in which they were made.
func (s *Store) Directory(ctx context.Context) (Directory, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	d, err := s.directory(ctx)
	return d, outOfTime(ctx, err)
}

func (s *Store) directory(ctx context.Context) (d Directory, err error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return d, err
	}
	defer tx.Rollback() //nolint:errcheck // there is nothing to lose
	if err := tx.QueryRowContext(ctx, `SELECT directory FROM tally`).Scan(&d.Revision); err != nil {
		return d, err
	}
	if d.Tenants, err = collect(ctx, tx, scanTenant, `SELECT name, config, created, updated FROM tenants ORDER BY name`); err != nil {
		return d, err
	}
	d.Keys, err = collect(ctx, tx, scanKey, `SELECT `+keyColumns+` FROM keys ORDER BY created, id`)
	return d, err
}

// AddTenant makes a tenant, whose name must be free. Keys of an earlier tenant of that name must not work any more: they
// would be the new one's. What else the earlier one has left is forgotten, and its entries in the audit log are older than
// the new one.
func (s *Store) AddTenant(ctx context.Context, t Tenant, e Entry) error {
	if !sayable(t.Name) || t.Name == "" {
		return fmt.Errorf("tenant %q: that is no name", t.Name)
	}
	return s.change(ctx, e, func(ctx context.Context, tx *sql.Tx, e *Entry) error {
		left, err := working(ctx, tx, s.now(), `tenant = $2`, t.Name)
		switch {
		case err != nil:
			return err
		case left:
			return fmt.Errorf("keys of a tenant %q: %w", t.Name, ErrExists)
		}
		if e.At, err = s.after(ctx, tx, t.Name); err != nil {
			return err
		}
		n, err := affected(tx.ExecContext(ctx, `INSERT INTO tenants (name, config, created, updated) VALUES ($1, $2, $3, $3) ON CONFLICT DO NOTHING`,
			t.Name, t.Config, millis(e.At)))
		if err = none(n, err, "tenant", t.Name, ErrExists); err != nil {
			return err
		}
		return forget(ctx, tx, t.Name)
	})
}

// after is now, or a moment after the last that the audit log tells of a tenant: clocks of gateways differ.
func (s *Store) after(ctx context.Context, tx *sql.Tx, tenant string) (time.Time, error) {
	var last int64
	err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(at), 0) FROM audit WHERE tenant = $1`, cut(tenant)).Scan(&last)
	return date(max(millis(s.now()), last+1)), err
}

// forgotten is how many responses one transaction deletes: a tenant may have more than a server deletes within its patience.
const forgotten = 4096

// empty deletes most of a tenant's responses, so that little is left for the transaction that deletes the tenant.
func (s *Store) empty(ctx context.Context, tenant string) error {
	for n := int64(forgotten); n == forgotten; {
		err := s.write(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
			n, err = affected(tx.ExecContext(ctx, `DELETE FROM responses WHERE id IN (SELECT id FROM responses WHERE tenant = $1 LIMIT $2)
				AND EXISTS (SELECT 1 FROM tenants WHERE name = $1)`, tenant, forgotten))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forget deletes what was said to a tenant and is kept.
func forget(ctx context.Context, tx *sql.Tx, tenant string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM responses WHERE tenant = $1`, tenant)
	return err
}

// ReviseTenant gives a tenant another config in place of the one it was. If that has changed meanwhile, perhaps by another
// replica, the error is ErrChanged.
func (s *Store) ReviseTenant(ctx context.Context, name string, was, config []byte, e Entry) error {
	return s.change(ctx, e, func(ctx context.Context, tx *sql.Tx, _ *Entry) error {
		known, err := exists(ctx, tx, `SELECT 1 FROM tenants WHERE name = $1`, name)
		if err != nil {
			return err
		}
		if !known {
			return fmt.Errorf("tenant %q: %w", name, ErrNoTenant)
		}
		n, err := affected(tx.ExecContext(ctx, `UPDATE tenants SET config = $2, updated = $3 WHERE name = $1 AND config = $4`,
			name, config, millis(s.now()), was))
		return none(n, err, "tenant", name, ErrChanged)
	})
}

// DeleteTenant deletes a tenant, its keys and its stored responses.
func (s *Store) DeleteTenant(ctx context.Context, name string, e Entry) error {
	if err := s.empty(ctx, name); err != nil {
		return err
	}
	return s.change(ctx, e, func(ctx context.Context, tx *sql.Tx, _ *Entry) error {
		n, err := affected(tx.ExecContext(ctx, `DELETE FROM tenants WHERE name = $1`, name))
		if err = none(n, err, "tenant", name, ErrNoTenant); err != nil {
			return err
		}
		if _, err = tx.ExecContext(ctx, `DELETE FROM keys WHERE tenant = $1`, name); err != nil {
			return err
		}
		return forget(ctx, tx, name)
	})
}

// change makes a change of the directory: with its revision and its entry in the audit log, or not at all. What is changed may
// have the entry tell another time.
func (s *Store) change(ctx context.Context, e Entry, do func(context.Context, *sql.Tx, *Entry) error) error {
	e.bound(s.now())
	return s.writeInTurn(ctx, func(ctx context.Context, tx *sql.Tx) error {
		e := e // a transaction that fails is made again
		if err := do(ctx, tx, &e); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE tally SET directory = directory + 1`); err != nil {
			return err
		}
		return record(ctx, tx, e)
	})
}

// none is an error where a statement changed nothing.
func none(n int64, err error, what, name string, cause error) error {
	if err == nil && n == 0 {
		return fmt.Errorf("%s %q: %w", what, name, cause)
	}
	return err
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, tx querier, scan func(*sql.Rows) (T, error), query string, args ...any) (list []T, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() // what went wrong is in rows.Err
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, rows.Err()
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func scanTenant(rows *sql.Rows) (t Tenant, err error) {
	var created, updated int64
	err = rows.Scan(&t.Name, &t.Config, &created, &updated)
	t.Created, t.Updated = date(created), date(updated)
	return t, err
}
