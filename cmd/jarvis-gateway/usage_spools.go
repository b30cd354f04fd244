package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/usage/spool"
)

// spools are the one of this process and those that it has taken over from processes that are no more. Their folders are dir, dir-2,
// dir-3...
type spools struct {
	dir     string
	options spool.Options
	own     *spool.Log
	at      string                // its folder
	orphans map[string]*spool.Log // by folder
	ship    func(*spool.Log) spool.Deliver
	told    *proxy.Spools
	log     *slog.Logger
	broken  map[string]bool // folders that cannot be opened, which was said
}

// mostSpools is how many gateways of one config may run on one machine.
const mostSpools = 64

// claimSpools opens the first folder that no other process has, and those that nobody has any more. Nothing is delivered before start.
func claimSpools(dir string, o spool.Options, told *proxy.Spools, log *slog.Logger) (*spools, error) {
	s := &spools{dir: dir, options: o, orphans: map[string]*spool.Log{}, told: told, log: log, broken: map[string]bool{}}
	for n := 1; n <= mostSpools && s.own == nil; n++ {
		l, err := s.open(s.folder(n))
		switch {
		case errors.Is(err, spool.ErrLocked):
		case err != nil:
			return nil, err
		default:
			s.own, s.at = l, s.folder(n)
		}
	}
	if s.own == nil {
		return nil, fmt.Errorf("%d other processes record there", mostSpools)
	}
	s.find()
	return s, nil
}

func (s *spools) folder(n int) string {
	if n == 1 {
		return s.dir
	}
	return fmt.Sprintf("%s-%d", s.dir, n)
}

func (s *spools) open(dir string) (*spool.Log, error) {
	o := s.options
	o.Dir = dir
	l, err := spool.Open(o)
	if err != nil {
		return nil, err
	}
	if torn := l.Stats().Torn; torn > 0 {
		s.log.Warn("some of a spool is no record: what a crash has cut, or the disk has lost", "bytes", torn)
	}
	return l, nil
}

// find opens what processes that are no more have left. A folder that is in use, or has nothing in it, costs no more than a look.
func (s *spools) find() (found []*spool.Log) {
	for n := 1; n <= mostSpools; n++ {
		dir := s.folder(n)
		if _, err := os.Stat(dir); err != nil && n > 1 {
			break // there are no more
		}
		left, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
		if dir == s.at || s.orphans[dir] != nil || len(left) == 0 {
			continue
		}
		l, err := s.open(dir)
		switch {
		case errors.Is(err, spool.ErrLocked):
		case err != nil: // this gateway has its own
			if !s.broken[dir] {
				s.log.Warn("what another process has left in its spool cannot be read", "cause", err.Error())
			}
			s.broken[dir] = true
		default:
			s.orphans[dir] = l
			found = append(found, l)
		}
	}
	return found
}

// start has all be delivered.
func (s *spools) start(ship func(*spool.Log) spool.Deliver) {
	s.ship = ship
	s.told.Store(s.all()...)
	for _, l := range s.all() {
		l.Ship(ship(l))
	}
}

func (s *spools) all() []*spool.Log {
	list := []*spool.Log{s.own}
	for _, l := range s.orphans {
		list = append(list, l)
	}
	return list
}

// adopt takes over what was left since, and gives up what was delivered, so that a gateway that starts finds its folder free.
func (s *spools) adopt() {
	for dir, l := range s.orphans {
		if l.Stats().Spooled > 0 {
			continue
		}
		if err := l.Close(context.Background()); err != nil {
			s.log.Warn("a spool was not closed well", "cause", err.Error())
		}
		s.told.Retire(l)
		delete(s.orphans, dir)
	}
	for _, l := range s.find() {
		s.told.Add(l)
		l.Ship(s.ship(l))
	}
}

// close ends all, once the last records are delivered, or ctx is done: then they stay.
func (s *spools) close(ctx context.Context) error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, l := range s.all() {
		errs = append(errs, l.Close(ctx))
	}
	return errors.Join(errs...)
}
