package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
)

// Stocked is how many of a unit are in a scope: documents in tenant/acme. To AddStock N is how many more, fewer where it is
// negative, and Limit how many there may be, 0 for any number. It is an alias, so that who calls need not know this package.
type Stocked = struct {
	Scope, Unit string
	N, Limit    int64
}

const (
	mostStocked = 1 << 40 // in one go: sums stay far from the end of numbers
	mostAsked   = 500     // scopes in one query
)

// AddStock counts all of a list or, where one would pass its limit, nothing: full is then its index, and have what is there
// already; else full is -1. To take away is never refused, and leaves no less than nothing. What is counted outlives the
// process. After an error nobody knows whether it was.
func (s *Store) AddStock(ctx context.Context, list []Stocked) (full int, have int64, err error) {
	if len(list) == 0 {
		return -1, 0, nil
	}
	for _, one := range list {
		if err := checkStocked(one); err != nil {
			return -1, 0, err
		}
	}
	list = slices.Clone(list)               // the transaction may outlive its caller,
	var outcome atomic.Pointer[overstocked] // and be made twice
	err = s.writeInTurn(ctx, func(ctx context.Context, tx *sql.Tx) error {
		there, err := stock(ctx, tx, scopesOf(list))
		if err != nil {
			return err
		}
		o := there.add(list)
		outcome.Store(&o)
		if o.full >= 0 {
			return nil // for the others in this transaction that is no failure
		}
		return there.keep(ctx, tx, list)
	})
	if err != nil {
		return -1, 0, err
	}
	o := outcome.Load()
	return o.full, o.have, nil
}

// CountStock is what is in some scopes, in no order. Units of which there is nothing are left out.
func (s *Store) CountStock(ctx context.Context, scopes []string) (list []Stocked, err error) {
	if !sayable(scopes...) {
		return nil, errors.New("stock: scopes must be text")
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	for part := range slices.Chunk(scopes, mostAsked) {
		there, err := stock(ctx, s.db, part)
		if err != nil {
			return nil, outOfTime(ctx, err)
		}
		for at, n := range there {
			list = append(list, Stocked{Scope: at.scope, Unit: at.unit, N: n})
		}
	}
	return list, nil
}

func checkStocked(one Stocked) error {
	switch {
	case !sayable(one.Scope, one.Unit) || one.Scope == "" || one.Unit == "":
		return errors.New("stock: scope and unit must be text")
	case one.N > mostStocked || one.N < -mostStocked:
		return fmt.Errorf("stock: %d at once", one.N)
	}
	return nil
}

// overstocked tells which of a list is too much, -1 for none, and how many there are already.
type overstocked struct {
	full int
	have int64
}

// shelf is where something is counted.
type shelf struct{ scope, unit string }

type shelves map[shelf]int64

// add counts a list up to the first that is too much. Who has more than a limit that came later can still take away.
func (there shelves) add(list []Stocked) overstocked {
	for i, one := range list {
		at := shelf{one.Scope, one.Unit}
		have, most := there[at], one.Limit
		if most <= 0 {
			most = math.MaxInt64
		}
		if one.N > 0 && one.N > most-have {
			return overstocked{i, have}
		}
		there[at] = max(0, have+one.N)
	}
	return overstocked{full: -1}
}

// stock reads what is in some scopes, mostAsked at most.
func stock(ctx context.Context, tx querier, scopes []string) (shelves, error) {
	type row struct {
		shelf
		n int64
	}
	args := make([]any, len(scopes))
	for i, scope := range scopes {
		args[i] = scope
	}
	rows, err := collect(ctx, tx, func(rows *sql.Rows) (r row, err error) {
		err = rows.Scan(&r.scope, &r.unit, &r.n)
		return r, err
	}, `SELECT scope, unit, n FROM stock WHERE scope IN `+marks(len(args), len(args)), args...)
	there := shelves{}
	for _, r := range rows {
		there[r.shelf] = r.n
	}
	return there, err
}

// keep writes what a list has changed. All who write take turns, so that nobody has changed it since it was read.
func (there shelves) keep(ctx context.Context, tx *sql.Tx, list []Stocked) error {
	var rows, gone []any
	seen := map[shelf]bool{}
	for _, one := range list {
		at := shelf{one.Scope, one.Unit}
		switch n := there[at]; {
		case seen[at]:
		case n > 0:
			rows = append(rows, at.scope, at.unit, n)
		default:
			gone = append(gone, at.scope, at.unit)
		}
		seen[at] = true
	}
	if len(rows) > 0 {
		_, err := tx.ExecContext(ctx, `INSERT INTO stock (scope, unit, n) VALUES `+marks(len(rows), 3)+`
			ON CONFLICT (scope, unit) DO UPDATE SET n = excluded.n`, rows...)
		if err != nil {
			return err
		}
	}
	if len(gone) > 0 {
		_, err := tx.ExecContext(ctx, `DELETE FROM stock WHERE (scope, unit) IN (VALUES `+marks(len(gone), 2)+`)`, gone...)
		return err
	}
	return nil
}

func scopesOf(list []Stocked) []string {
	scopes := make([]string, len(list))
	for i, one := range list {
		scopes[i] = one.Scope
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// marks is ($1, $2), ($3, $4): places for n arguments, so many in each row.
func marks(n, row int) string {
	var b strings.Builder
	for i := range n {
		switch {
		case i%row > 0:
			b.WriteString(", ")
		case i > 0:
			b.WriteString("), (")
		default:
			b.WriteByte('(')
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	return b.String() + ")"
}
