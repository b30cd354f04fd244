package state

import (
	"context"
	"database/sql"
	"sync/atomic"
)

// Forced is what somebody has decided by hand about a target.
type Forced struct {
	Model    string // the entry of models
	Provider string
	Served   string // the provider's name for the model; "": all of them
	State    string // open, closed, or "": the breaker decides again
	Turn     int64  // of all decisions, in their order
}

// Force keeps a decision, which goes before all that were before, and returns it with its turn. One about all models of a target
// takes the place of those about each.
func (s *Store) Force(ctx context.Context, f Forced) (Forced, error) {
	var made atomic.Int64 // the transaction may be made twice, and outlive its caller
	err := s.writeInTurn(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var last int64
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(turn), 0) FROM forced_targets`).Scan(&last); err != nil {
			return err
		}
		if f.Served == "" {
			if _, err := tx.ExecContext(ctx, `DELETE FROM forced_targets WHERE model = $1 AND provider = $2`, f.Model, f.Provider); err != nil {
				return err
			}
		}
		made.Store(last + 1)
		_, err := tx.ExecContext(ctx, `INSERT INTO forced_targets (model, provider, served, state, turn) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (model, provider, served) DO UPDATE SET state = excluded.state, turn = excluded.turn`, f.Model, f.Provider, f.Served, f.State, last+1)
		return err
	})
	f.Turn = made.Load()
	return f, err
}

// Forced are the decisions that hold, and those that took others back, which gateways may not know yet.
func (s *Store) Forced(ctx context.Context) ([]Forced, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	list, err := collect(ctx, s.db, scanForced, `SELECT model, provider, served, state, turn FROM forced_targets ORDER BY turn`)
	return list, outOfTime(ctx, err)
}

func scanForced(rows *sql.Rows) (f Forced, err error) {
	err = rows.Scan(&f.Model, &f.Provider, &f.Served, &f.State, &f.Turn)
	return f, err
}
