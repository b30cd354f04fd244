package state

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"time"
)

// onceKept is how much longer than asked for a key of Once is remembered: clocks of gateways differ.
const onceKept = time.Hour

// Once is true for one caller among all gateways, until then: whoever asks for the same key is told false. After an error
// nobody knows who was first.
func (s *Store) Once(ctx context.Context, key string, until time.Time) (first bool, err error) {
	if !sayable(key) {
		return false, fmt.Errorf("key %q is no text", key)
	}
	var got atomic.Bool // the transaction may be made twice; the caller may be gone by then
	err = s.writeInTurn(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err := affected(tx.ExecContext(ctx, `
			INSERT INTO once (name, until) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET until = excluded.until WHERE once.until <= $3`, key, millis(until), millis(s.now())))
		got.Store(n > 0)
		return err
	})
	return got.Load() && err == nil, err
}
