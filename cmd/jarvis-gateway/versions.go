package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/admin"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/router"
)

// Every configuration that comes into force is kept as a version. To roll back pins one of them in the state store: it goes in
// place of the files, which stay as they are, on every gateway that has the same files and the store, also after a restart. A
// gateway whose files change serves those.

// keep keeps the configuration that has just come into force.
func (s *live) keep(author string) {
	v := s.conf.version(s.salt)
	v.Author, s.hash = author, v.SHA256
	s.state.KeepVersion(v)
}

// files tells the files as they are now from what they were or will be, without their text.
func (s *live) files() string {
	digest, content := hmac.New(sha256.New, s.salt), s.source.digest()
	digest.Write([]byte("files "))
	digest.Write(content[:])
	return hex.EncodeToString(digest.Sum(nil))
}

// choose is the pin that goes for files, given the one of the state store.
func (s *live) choose(stored state.Pin, files string) state.Pin {
	switch {
	case stored.Version != 0 && stored.Files == files && !stored.Ended:
		return stored
	case stored.Version != 0 && s.pin.Version != 0 && s.pin.Files == files:
		return s.pin // it has ended where the files have changed, not here yet
	}
	return state.Pin{}
}

// standing is the pin that goes for the files as they are. While the store does not answer nothing changes.
func (s *live) standing(ctx context.Context) state.Pin {
	stored, err := s.state.Pinned(ctx)
	if err != nil {
		stored = s.pin
	}
	return s.choose(stored, s.files())
}

// read reads the version of a pin, or the files where nothing is pinned.
func (s *live) read(ctx context.Context, pin state.Pin) (*loaded, error) {
	if pin.Version == 0 {
		return s.source.load()
	}
	v, err := s.state.Version(ctx, pin.Version)
	if err != nil {
		return nil, err
	}
	return s.restore(v)
}

// restore reads a version. Its secrets are those of the configuration in force and of the files.
func (s *live) restore(v state.Version) (*loaded, error) {
	var files *loaded
	if s.parts != nil { // else they have just been loaded
		files, _ = s.source.load() // files that are wrong hold nothing of use
	}
	return s.source.restore(v, s.conf, secrets(s.salt, s.conf, files))
}

// openPinned has the pinned version go in place of the files with which the gateway starts. One that does not work any more
// does not keep it from starting.
func (s *live) openPinned(ctx context.Context) error {
	var err error
	if s.salt, err = s.state.ConfigSalt(ctx); err != nil {
		return err
	}
	stored, err := s.state.Pinned(ctx)
	if err != nil {
		return err
	}
	pin := s.choose(stored, s.files())
	if pin.Version == 0 {
		if stored.Version != 0 && !stored.Ended {
			s.unpinned(stored)
		}
		return nil
	}
	conf, err := s.read(ctx, pin)
	if err == nil {
		err = conf.explain(s.rehearse(conf))
	}
	if err != nil {
		s.log.Error("the pinned version of the config does not work; the files are in force", "version", pin.Version, "cause", err.Error())
		return nil
	}
	s.conf, s.pin = conf, pin
	return nil
}

// unpinned notes that the files have changed since a version was pinned.
func (s *live) unpinned(pin state.Pin) {
	s.state.EndPin(pin)
	s.log.Info("the config's files have changed, so the pinned version is not in force any more", "version", pin.Version)
}

// rehearse tells whether a config could come into force now, beside the tenants of the state store.
func (s *live) rehearse(conf *loaded) error {
	prev := s.parts
	if prev == nil {
		prev = &parts{}
	}
	p, err := build(&conf.Config, prev, policy.Setup{}, router.Setup{})
	if err == nil {
		p.retire(prev)
	}
	return err
}

// rollback has a version go in place of the files, or changes nothing and says why.
func (s *live) rollback(ctx context.Context, version int64, by string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.state.Flush(ctx); err != nil { // what was kept a moment ago is on its way
		return err
	}
	v, err := s.state.Version(ctx, version)
	if err != nil {
		return err
	}
	conf, err := s.restore(v)
	if err = s.ready(conf, err); err != nil {
		return err
	}
	before, err := s.state.Pinned(ctx)
	if err != nil {
		return err
	}
	v.At, v.Author, v.Restores = time.Time{}, by, version
	pin, err := s.state.PinVersion(ctx, v, s.files())
	if err != nil {
		return err
	}
	if err := s.take(by, conf, pin, nil); err != nil {
		return errors.Join(admin.Refused{Err: unplaced(err)}, s.state.SetPin(ctx, before))
	}
	return nil
}

// unpin has the files go again, or changes nothing and says why.
func (s *live) unpin(ctx context.Context, by string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, err := s.state.Pinned(ctx)
	switch {
	case err != nil:
		return err
	case before.Version == 0 && s.pin.Version == 0:
		return admin.ErrNotPinned
	}
	conf, err := s.source.load()
	if err = s.ready(conf, err); err != nil {
		return err
	}
	v := conf.version(s.salt)
	v.Author = by
	if err := s.state.Unpin(ctx, v); err != nil {
		return err
	}
	if err := s.take(by, conf, state.Pin{}, nil); err != nil {
		return errors.Join(admin.Refused{Err: unplaced(err)}, s.state.SetPin(ctx, before))
	}
	return nil
}

// ready words why a config that somebody asked for cannot come into force.
func (s *live) ready(conf *loaded, err error) error {
	if err == nil {
		err = conf.explain(s.rehearse(conf))
	}
	if err != nil {
		return admin.Refused{Err: unplaced(err)}
	}
	return nil
}

// inForce is which version is, by its hash, and the pin that made it so, if one did.
func (s *live) inForce() (hash string, pin state.Pin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hash, s.pin
}

// follower takes over what is pinned through other gateways, how rollouts stand there, and what was decided about targets. It owns one goroutine.
type follower struct {
	*live
	stop context.CancelFunc
	done chan struct{}
	seen state.Pin // which was followed, or could not be
}

func (s *live) follow() *follower {
	ctx, stop := context.WithCancel(context.Background())
	f := &follower{live: s, stop: stop, done: make(chan struct{})}
	_, f.seen = s.inForce()
	go f.loop(ctx)
	return f
}

// Close waits for what it is taking over.
func (f *follower) Close() {
	f.stop()
	<-f.done
}

func (f *follower) loop(ctx context.Context) {
	defer close(f.done)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.poll(ctx)
			f.recall(ctx, f.router())
			f.heed(ctx, f.router())
		}
	}
}

// poll is quiet about a store that does not answer: the directory, which asks the same one, tells of it.
func (f *follower) poll(ctx context.Context) {
	stored, err := f.state.Pinned(ctx)
	if err != nil || stored == f.seen {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if stored, err = f.state.Pinned(ctx); err != nil { // once more: this gateway may have changed it until now
		return
	}
	next := f.choose(stored, f.files())
	if next == f.pin {
		f.seen = stored
		return
	}
	conf, err := f.read(ctx, next)
	if _, wrong := errors.AsType[problems](err); err != nil && !wrong {
		return // the store again
	}
	f.seen = stored
	by := next.Author
	if by == "" {
		by = "unpin"
	}
	_ = f.take(by, conf, next, err) // it is in the log
}
