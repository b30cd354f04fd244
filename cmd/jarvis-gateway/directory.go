package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/state"
)

// pollEvery is how often a replica asks whether tenants or keys have changed: a revoked key works nowhere a second later.
const pollEvery = 400 * time.Millisecond

// directory keeps a gateway's gate to what the state store has of tenants and keys, whichever replica changed it. It owns
// one goroutine.
type directory struct {
	store *state.Store
	log   *slog.Logger
	gate  func() *policy.Gate
	parse func(json []byte, into any) error

	changed  chan chan error // of who waits until it is learnt
	soon     chan struct{}   // nobody waits
	stop     context.CancelFunc
	done     chan struct{}
	revision int64
	taught   *policy.Gate // which has learnt what the store had at revision
	wrong    error        // what it could not take in of that
	told     string       // the error that was logged last
}

// open reads the directory a first time. What conflicts with the configuration is an error.
func (d *directory) open(ctx context.Context) error {
	d.changed, d.soon, d.done = make(chan chan error), make(chan struct{}, 1), make(chan struct{})
	if err := d.read(ctx); err != nil {
		return err
	}
	if _, conflict := errors.AsType[policy.Conflict](d.wrong); conflict {
		return d.wrong
	}
	if d.wrong != nil {
		d.log.Error("not all of the tenants and keys in the state store work", "cause", d.wrong.Error())
		d.told = d.wrong.Error()
	}
	ctx, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	go d.loop(ctx)
	return nil
}

func (d *directory) Close() {
	d.stop()
	<-d.done
}

// Changed has the gate learn what this replica itself has changed, and returns when it has: who has made a key, or revoked
// one, is not answered before that is so. After an error the gate may not have learnt it.
func (d *directory) Changed() error {
	learnt := make(chan error)
	select {
	case d.changed <- learnt:
		return <-learnt
	case <-d.done:
		return errors.New("the gateway is stopping")
	}
}

// Again has a new gate learn what there is: the one before may have learnt something since the new one was made of it.
func (d *directory) Again() {
	select {
	case d.soon <- struct{}{}:
	default:
	}
}

func (d *directory) loop(ctx context.Context) {
	defer close(d.done)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		var learnt chan error
		select {
		case <-ctx.Done():
			return
		case learnt = <-d.changed:
		case <-d.soon:
		case <-tick.C:
		}
		if err := d.poll(ctx); learnt != nil {
			learnt <- err
		}
	}
}

// poll has the gate learn what has changed, if anything has. The error tells that this could not be found out.
func (d *directory) poll(ctx context.Context) error {
	revision, err := d.store.Revision(ctx)
	if err == nil && (revision != d.revision || d.gate() != d.taught) {
		err = d.read(ctx)
	}
	if ctx.Err() == nil {
		d.tell(cmp.Or(err, d.wrong))
	}
	return err
}

// tell logs an error once, as it would else come twice a second.
func (d *directory) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
		proxy.DirectoryErrors.Inc()
	}
	switch {
	case text == d.told:
		return
	case err != nil:
		d.log.Error("changes of tenants and keys are not seen, or not all of them", "cause", text)
	default:
		d.log.Info("changes of tenants and keys are seen again")
	}
	d.told = text
}

// read has the gate learn what the store has now. If meanwhile another has come into force, which may have been made of what
// there was before, that one has to as well.
func (d *directory) read(ctx context.Context) error {
	rows, err := d.store.Directory(ctx)
	if err != nil {
		return err
	}
	stored, wrong := d.stored(rows)
	d.revision = rows.Revision
	for d.taught = nil; d.taught != d.gate(); {
		d.taught = d.gate()
		d.wrong = errors.Join(wrong, d.taught.Learn(stored))
	}
	return nil
}

// stored is what the rows say. One that cannot be read, because a newer gateway wrote it, does not hold up the others.
func (d *directory) stored(rows state.Directory) (policy.Stored, error) {
	s := policy.Stored{Tenants: make(map[string]policy.StoredTenant, len(rows.Tenants)), Keys: make([]policy.StoredKey, 0, len(rows.Keys))}
	var errs []error
	for _, row := range rows.Tenants {
		t := policy.StoredTenant{Created: row.Created}
		if err := d.parse(row.Config, &t.Tenant); err != nil {
			errs = append(errs, fmt.Errorf("tenant %s of the state store: %w", row.Name, err))
			continue
		}
		s.Tenants[row.Name] = t
	}
	for _, row := range rows.Keys {
		k := policy.StoredKey{ID: row.ID, Tenant: row.Tenant, Name: row.Name, Team: row.Team, Role: row.Role, Digest: row.Digest,
			Hint: row.Hint, Created: row.Created, Expires: row.Expires, Revoked: row.Revoked}
		if len(row.Limits) > 0 {
			if err := d.parse(row.Limits, &k.Limits); err != nil {
				errs = append(errs, fmt.Errorf("key %s of tenant %s of the state store: %w", row.Name, row.Tenant, err))
				continue
			}
		}
		s.Keys = append(s.Keys, k)
	}
	return s, errors.Join(errs...)
}

// parseJSON reads what came through the admin API as strictly as a file, but with no references into the environment.
func parseJSON(text []byte, into any) error {
	d := decode("", text, into, func(string) (string, bool) { return "", false })
	if len(d.problems) > 0 {
		return d.problems.sorted()
	}
	return nil
}
