package state

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"time"
)

// Rollout is how far a rollout has come that was changed, by itself or by hand. One that nobody has changed stands as the
// configuration says.
type Rollout struct {
	Model   string // the entry of models
	Spec    string // what tells it from the model's other rollouts
	Turn    int64  // decisions by hand so far
	Step    int
	Percent float64
	Since   time.Time
	Halted  string // why it was called off; "": it is not
}

// upsertRollout goes by the rule that the router has for what gateways tell each other: the last decision by hand, then called
// off, then the later step.
const upsertRollout = `INSERT INTO rollouts (model, spec, turn, step, percent, since, halted) VALUES ($1, $2, $3, $4, $5, $6, $7)
	ON CONFLICT (model, spec) DO UPDATE SET turn = excluded.turn, step = excluded.step, percent = excluded.percent, since = excluded.since, halted = excluded.halted
	WHERE excluded.turn > rollouts.turn OR excluded.turn = rollouts.turn AND rollouts.halted = ''
		AND (excluded.halted <> '' OR excluded.step > rollouts.step)`

func upsert(ctx context.Context, tx *sql.Tx, r Rollout) error {
	_, err := tx.ExecContext(ctx, upsertRollout, r.Model, r.Spec, r.Turn, r.Step, r.Percent, millis(r.Since), cut(r.Halted))
	return err
}

// KeepRollout keeps what a rollout has done by itself. Nobody waits for it.
func (s *Store) KeepRollout(r Rollout) {
	s.post(&write{inTurn: true, lost: &s.missed, do: func(ctx context.Context, tx *sql.Tx) error { return upsert(ctx, tx, r) }})
}

// SetRollout keeps what somebody has decided, which goes before all that was before. It returns what it comes to.
func (s *Store) SetRollout(ctx context.Context, r Rollout) (Rollout, error) {
	var made atomic.Pointer[Rollout] // the transaction may be made twice, and outlive its caller
	err := s.writeInTurn(ctx, func(ctx context.Context, tx *sql.Tx) error {
		next := r
		var last int64
		err := tx.QueryRowContext(ctx, `SELECT turn FROM rollouts WHERE model = $1 AND spec = $2`, r.Model, r.Spec).Scan(&last)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		next.Turn = max(next.Turn, last+1)
		made.Store(&next)
		return upsert(ctx, tx, next)
	})
	if err != nil {
		return Rollout{}, err
	}
	return *made.Load(), nil
}

// Rollouts are all that were ever changed.
func (s *Store) Rollouts(ctx context.Context) ([]Rollout, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	list, err := collect(ctx, s.db, scanRollout, `SELECT model, spec, turn, step, percent, since, halted FROM rollouts`)
	return list, outOfTime(ctx, err)
}

func scanRollout(rows *sql.Rows) (r Rollout, err error) {
	var since int64
	err = rows.Scan(&r.Model, &r.Spec, &r.Turn, &r.Step, &r.Percent, &since, &r.Halted)
	r.Since = date(since)
	return r, err
}
