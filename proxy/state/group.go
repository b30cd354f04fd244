package state

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// errOneFailed ends a transaction in which one write failed: the others are to be made without it.
var errOneFailed = errors.New("one of a group failed")

// breath is what the other of a deadlock needs to end before it is met again.
const breath = 20 * time.Millisecond

// commit makes a group of changes after those that failed before, in as many transactions as it takes: what has piled up in
// an outage may be more than one can make in its time. With the first that fails it ends, and so does the store's patience.
func (s *Store) commit(group []*write) {
	group = append(s.failed.writes, group...)
	s.failed.writes = nil
	ctx, cancel := s.within(s.ctx)
	defer cancel()
	var err error
	for len(group) > 0 {
		part := group[:min(len(group), s.failed.most())]
		group = group[len(part):]
		outcome := make([]error, len(part))
		if err == nil {
			err = s.together(ctx, part, outcome)
			s.failed.learn(err)
		}
		s.settle(part, outcome, err)
	}
	s.failed.rest(err)
}

// together makes changes in one transaction. One that fails, or whose caller has left, does not hold up the others: they are
// then made once more, each where it can be taken back alone. It is rare that one fails, and to prepare for it would cost two
// more round trips each.
func (s *Store) together(ctx context.Context, group []*write, outcome []error) error {
	err := s.try(ctx, group, outcome, s.plainly)
	if errors.Is(err, errOneFailed) {
		if s.passing(err) {
			time.Sleep(breath)
		}
		err = s.try(ctx, group, outcome, s.carefully)
	}
	if err != nil {
		err = fmt.Errorf("state database: %w", outOfTime(ctx, err))
	}
	return err
}

// settle tells those who wait how it went. What nobody waits for is kept if the transaction failed.
func (s *Store) settle(group []*write, outcome []error, err error) {
	for i, w := range group {
		switch {
		case w.ctx != nil:
			w.done <- cmp.Or(err, outcome[i])
		case err != nil:
			s.keep(w)
		case outcome[i] != nil: // for its own sake: it would fail again
			s.drop(w, outcome[i])
		}
	}
}

type making func(context.Context, *sql.Tx, *write) (own, all error)

// try makes a group in one transaction and puts each one's own failure into outcome.
func (s *Store) try(ctx context.Context, group []*write, outcome []error, one making) error {
	return s.transact(ctx, func(tx *sql.Tx) (err error) {
		if s.inTurn != "" && slices.ContainsFunc(group, func(w *write) bool { return w.inTurn }) {
			if _, err := tx.ExecContext(ctx, s.inTurn); err != nil {
				return err
			}
		}
		for i, w := range group {
			if w.ctx != nil && w.ctx.Err() != nil {
				outcome[i] = w.ctx.Err()
			} else if outcome[i], err = one(ctx, tx, w); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) plainly(ctx context.Context, tx *sql.Tx, w *write) (own, all error) {
	if err := w.do(ctx, tx); err != nil {
		return nil, fmt.Errorf("%w: %w", errOneFailed, err)
	}
	return nil, nil
}

func (s *Store) carefully(ctx context.Context, tx *sql.Tx, w *write) (own, all error) {
	if _, err := tx.ExecContext(ctx, `SAVEPOINT one`); err != nil {
		return nil, err
	}
	end := `RELEASE SAVEPOINT one`
	if own = w.do(ctx, tx); own != nil {
		if s.passing(own) {
			return nil, own
		}
		end = `ROLLBACK TO SAVEPOINT one`
	}
	if _, err := tx.ExecContext(ctx, end); err != nil {
		return nil, cmp.Or(own, err)
	}
	return own, nil
}
