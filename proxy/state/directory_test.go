package state

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func newKey(id, tenant string) Key {
	return Key{ID: id, Tenant: tenant, Name: id, Role: "developer", Digest: sha256.Sum256([]byte(id)), Hint: "abcd", By: "root"}
}

// hands is a clock that tests set.
type hands struct{ at atomic.Int64 }

func (h *hands) now() time.Time      { return time.UnixMilli(h.at.Load()) }
func (h *hands) add(d time.Duration) { h.at.Add(d.Milliseconds()) }

func clocked(t *testing.T, url string, every time.Duration) (*Store, *hands) {
	t.Helper()
	clock := &hands{}
	clock.at.Store(1_700_000_000_000)
	s, err := open(t.Context(), url, clock.now, every)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, clock
}

func directory(t *testing.T, s *Store) Directory {
	t.Helper()
	d, err := s.Directory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if revision, err := s.Revision(t.Context()); err != nil || revision != d.Revision {
		t.Errorf("revision %d of %d: %v", revision, d.Revision, err)
	}
	return d
}

func TestDirectory(t *testing.T) { both(t, testDirectory) }

func testDirectory(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Hour)
	ctx, began := t.Context(), clock.now()
	if d := directory(t, s); !reflect.DeepEqual(d, Directory{}) {
		t.Errorf("at first: %+v", d)
	}
	ci := newKey("k1", "acme")
	ci.Name, ci.Team, ci.Limits, ci.Expires = "ci", "blue", []byte(`[{}]`), began.Add(time.Hour)
	next := newKey("k2", "acme")
	next.Name = "ci"
	was := []byte(`{"a":1}`)
	steps := []struct {
		name string
		do   func(e Entry) error
		want error
	}{
		{"key of no tenant", func(e Entry) error { return s.AddKey(ctx, ci, false, e) }, ErrNoTenant},
		{"tenant", func(e Entry) error {
			return s.AddTenant(ctx, Tenant{Name: "acme", Config: []byte(`{"a":1}`)}, e)
		}, nil},
		{"the same tenant", func(e Entry) error { return s.AddTenant(ctx, Tenant{Name: "acme", Config: []byte(`{}`)}, e) }, ErrExists},
		{"key", func(e Entry) error { return s.AddKey(ctx, ci, false, e) }, nil},
		{"the same name", func(e Entry) error { return s.AddKey(ctx, next, false, e) }, ErrExists},
		{"the same digest", func(e Entry) error {
			k := newKey("k9", "acme")
			k.Digest = ci.Digest
			return s.AddKey(ctx, k, false, e)
		}, ErrExists},
		{"the same ID", func(e Entry) error { k := newKey("k1", "acme"); k.Digest[0]++; return s.AddKey(ctx, k, false, e) }, ErrExists},
		{"config", func(e Entry) error { return s.ReviseTenant(ctx, "acme", was, []byte(`{"a":2}`), e) }, nil},
		{"config that is no more", func(e Entry) error { return s.ReviseTenant(ctx, "acme", was, []byte(`{"a":3}`), e) }, ErrChanged},
		{"config of none", func(e Entry) error { return s.ReviseTenant(ctx, "nobody", was, nil, e) }, ErrNoTenant},
		{"rotation into another tenant", func(e Entry) error { return s.RotateKey(ctx, "k1", newKey("k2", "b"), began, e) }, ErrNoKey},
		{"rotation of none", func(e Entry) error { return s.RotateKey(ctx, "k0", next, began, e) }, ErrNoKey},
		{"rotation", func(e Entry) error { return s.RotateKey(ctx, "k1", next, began.Add(time.Minute), e) }, nil},
		{"rotation again", func(e Entry) error { return s.RotateKey(ctx, "k1", newKey("k3", "acme"), began.Add(time.Minute), e) }, ErrEnded},
		{"a longer overlap", func(e Entry) error { return s.ExpireKey(ctx, "k1", began.Add(2*time.Minute), e) }, ErrEnded},
		{"no end at all", func(e Entry) error { return s.ExpireKey(ctx, "k1", time.Time{}, e) }, ErrEnded},
		{"a shorter overlap", func(e Entry) error { return s.ExpireKey(ctx, "k1", began.Add(30*time.Second), e) }, nil},
		{"expiry", func(e Entry) error { return s.ExpireKey(ctx, "k2", began.Add(24*time.Hour), e) }, nil},
		{"expiry of none", func(e Entry) error { return s.ExpireKey(ctx, "k0", began, e) }, ErrNoKey},
		{"revocation", func(e Entry) error { return s.RevokeKey(ctx, "k2", e) }, nil},
		{"revocation of none", func(e Entry) error { return s.RevokeKey(ctx, "k0", e) }, ErrNoKey},
		{"expiry of a revoked one", func(e Entry) error { return s.ExpireKey(ctx, "k2", time.Time{}, e) }, ErrEnded},
	}
	changes := 0
	for _, step := range steps {
		if err := step.do(Entry{Kind: Operation, Actor: "root", Action: step.name}); !errors.Is(err, step.want) {
			t.Errorf("%s: %v", step.name, err)
		}
		if step.want == nil {
			changes++
		}
		entries, err := s.Audit(ctx, Filter{})
		if d := directory(t, s); err != nil || len(entries) != changes || d.Revision != int64(changes) {
			t.Fatalf("%s: %d entries, revision %d, want %d: %v", step.name, len(entries), d.Revision, changes, err)
		}
		if last := entries[len(entries)-min(1, len(entries)):]; step.want == nil && last[0].Action != step.name {
			t.Errorf("%s: %+v", step.name, last)
		}
	}
	ci.Created, ci.Expires, ci.Replaced = began, began.Add(30*time.Second), "k2"
	next.Created, next.Expires, next.Revoked = began, began.Add(24*time.Hour), began
	want := Directory{
		Tenants: []Tenant{{Name: "acme", Config: []byte(`{"a":2}`), Created: began, Updated: began}}, Keys: []Key{ci, next}, Revision: int64(changes),
	}
	if got := directory(t, s); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
}

// A name is free again when the key that had it works no more; a tenant's name, when no key of it works.
func TestNamesAreFreeAgain(t *testing.T) { both(t, testNamesAreFreeAgain) }

func testNamesAreFreeAgain(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Hour)
	add := func(id string, declared bool) error {
		k := newKey(id, "acme")
		k.Name, k.Expires = "ci", clock.now().Add(time.Minute)
		return s.AddKey(t.Context(), k, declared, Entry{})
	}
	tenant := Tenant{Name: "acme", Config: []byte("{}")}
	if err := add("k1", true); err != nil {
		t.Fatal(err)
	}
	if err := s.AddTenant(t.Context(), tenant, Entry{}); !errors.Is(err, ErrExists) {
		t.Errorf("a tenant with somebody's keys: %v", err)
	}
	clock.add(time.Minute)
	if err := errors.Join(add("k2", true), s.RevokeKey(t.Context(), "k2", Entry{}), s.RevokeKey(t.Context(), "k2", Entry{}), add("k3", true),
		s.RevokeKey(t.Context(), "k3", Entry{}), s.AddTenant(t.Context(), tenant, Entry{}), add("k4", false)); err != nil {
		t.Error(err)
	}
	if d := directory(t, s); len(d.Keys) != 4 || d.Keys[0].Works(clock.now()) || d.Keys[1].Works(clock.now()) || !d.Keys[3].Works(clock.now()) {
		t.Errorf("%+v", d)
	}
	if err := s.DeleteTenant(t.Context(), "acme", Entry{}); err != nil {
		t.Error(err)
	}
	if err := s.DeleteTenant(t.Context(), "acme", Entry{}); !errors.Is(err, ErrNoTenant) {
		t.Error(err)
	}
	if d := directory(t, s); len(d.Tenants)+len(d.Keys) != 0 {
		t.Errorf("%+v", d)
	}
}

// A tenant that is deleted leaves nothing to the next one of its name: not what was said to it, nor its place in the audit log.
func TestTenantMadeAnew(t *testing.T) { both(t, testTenantMadeAnew) }

func testTenantMadeAnew(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Hour)
	ctx := t.Context()
	kept := func(id, tenant string) error {
		return s.Put(ctx, &Response{ID: id, Tenant: tenant, Body: []byte("{}"), Created: clock.now()})
	}
	add := func() error {
		return s.AddTenant(ctx, Tenant{Name: "acme", Config: []byte("{}")}, Entry{Action: "create", Tenant: "acme"})
	}
	if err := errors.Join(add(), kept("resp_1", "acme"), kept("resp_2", "other"), s.DeleteTenant(ctx, "nobody", Entry{})); !errors.Is(err, ErrNoTenant) {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "acme", "resp_1"); err != nil {
		t.Error(err)
	}
	if err := s.DeleteTenant(ctx, "other", Entry{}); !errors.Is(err, ErrNoTenant) { // it may stand in the configuration
		t.Error(err)
	}
	if err := s.DeleteTenant(ctx, "acme", Entry{Action: "delete", Tenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	if _, _, ok, err := s.Owner(ctx, "resp_1"); ok || err != nil {
		t.Errorf("the response of a tenant that is gone is there: %v", err)
	}
	if err := kept("resp_3", "acme"); err != nil { // of a request that was under way
		t.Fatal(err)
	}
	s.Record(Entry{Kind: Denial, Tenant: "acme", Action: "late", At: clock.now().Add(time.Minute)}) // by a gateway whose clock goes ahead
	if err := errors.Join(s.Flush(ctx), add()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "acme", "resp_3"); !errors.Is(err, ErrUnknown) {
		t.Errorf("the new tenant has what was said to the old one: %v", err)
	}
	if _, err := s.Get(ctx, "other", "resp_2"); err != nil {
		t.Errorf("another tenant's response is gone: %v", err)
	}
	own := entries(t, s, Filter{Tenant: "acme", Since: directory(t, s).Tenants[0].Created})
	if len(own) != 1 || own[0].Action != "create" {
		t.Errorf("what the log tells of the new tenant: %+v", own)
	}
}

// There is an end to a tenant's keys: of those that work, and of those that are kept to be listed.
func TestTooManyKeys(t *testing.T) { both(t, testTooManyKeys) }

func testTooManyKeys(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Hour)
	s.mostKeys = 3
	n := 0
	add := func(tenant string) error {
		n++
		clock.add(time.Second)
		return s.AddKey(t.Context(), newKey(fmt.Sprint("k", n), tenant), true, Entry{})
	}
	if err := errors.Join(add("a"), add("a"), add("b"), add("a")); err != nil {
		t.Fatal(err)
	}
	rotated := s.RotateKey(t.Context(), "k1", newKey("r1", "a"), clock.now().Add(time.Hour), Entry{})
	if err := add("a"); !errors.Is(err, ErrFull) || !errors.Is(rotated, ErrFull) || add("b") != nil {
		t.Errorf("a fourth key that works: %v, rotated %v", err, rotated)
	}
	for i := range 5 { // makes a key and revokes it, again and again
		if err := errors.Join(s.RevokeKey(t.Context(), []string{"k1", "k7", "k8", "k9", "k10"}[i], Entry{}), add("a")); err != nil {
			t.Fatal(err)
		}
	}
	var left []string
	for _, k := range directory(t, s).Keys {
		if k.Tenant == "a" {
			left = append(left, k.ID)
		}
	}
	if fmt.Sprint(left) != "[k2 k4 k8 k9 k10 k11]" {
		t.Errorf("there are %v", left)
	}
}

func TestBadKeys(t *testing.T) {
	s := opened(t, "sqlite::memory:")
	for name, spoil := range map[string]func(*Key){
		"no ID": func(k *Key) { k.ID = "" }, "no tenant": func(k *Key) { k.Tenant = "" }, "no name": func(k *Key) { k.Name = "" },
		"no digest": func(k *Key) { k.Digest = [32]byte{} },
	} {
		k := newKey("k1", "a")
		spoil(&k)
		if s.AddKey(t.Context(), k, true, Entry{}) == nil || s.RotateKey(t.Context(), "k0", k, time.Now(), Entry{}) == nil {
			t.Error(name)
		}
	}
	if err := s.AddTenant(t.Context(), Tenant{Config: []byte("{}")}, Entry{}); err == nil {
		t.Error("a tenant without a name")
	}
}

func TestOldKeysArePurged(t *testing.T) { both(t, testOldKeysArePurged) }

func testOldKeysArePurged(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Millisecond)
	for i, id := range []string{"revoked", "expired", "works", "ends later"} {
		k := newKey(id, "a")
		k.Expires = []time.Time{{}, clock.now().Add(time.Hour), {}, clock.now().Add(2 * time.Hour)}[i]
		if err := s.AddKey(t.Context(), k, true, Entry{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.RevokeKey(t.Context(), "revoked", Entry{}); err != nil {
		t.Fatal(err)
	}
	clock.add(keysKept + time.Hour - time.Millisecond)
	eventually(t, func() bool { return len(directory(t, s).Keys) == 3 })
	clock.add(time.Millisecond)
	eventually(t, func() bool { return len(directory(t, s).Keys) == 2 })
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never happens")
		}
	}
}

// Several gateways change one directory: names stay unique, nothing is lost, and every reader sees whole changes only.
func TestReplicas(t *testing.T) { both(t, testReplicas) }

func testReplicas(t *testing.T, url string) {
	stores := []*Store{opened(t, url), opened(t, url), opened(t, url)}
	var changes atomic.Int64
	made := func(s *Store, call func() error, but ...error) {
		err := insist(s, call)
		if err == nil {
			changes.Add(1)
		} else if !slices.ContainsFunc(but, func(e error) bool { return errors.Is(err, e) }) {
			t.Error(err)
		}
	}
	stop, readers := make(chan struct{}), sync.WaitGroup{}
	for _, s := range stores {
		readers.Go(func() { readWhole(t, s, stop) })
	}
	var wg sync.WaitGroup
	for i, s := range stores {
		for range 4 {
			wg.Go(func() {
				for n := range 15 {
					tenant := fmt.Sprint("t", rand.N(3))
					id := fmt.Sprintf("k%d_%d_%x", i, n, rand.Uint64())
					k := newKey(id, tenant)
					k.Name = "main"
					made(s, func() error { return s.AddTenant(t.Context(), Tenant{Name: tenant, Config: []byte("{}")}, Entry{}) }, ErrExists)
					made(s, func() error { return s.AddKey(t.Context(), k, false, Entry{}) }, ErrNoTenant, ErrExists)
					if n%3 == 0 {
						made(s, func() error { return s.DeleteTenant(t.Context(), tenant, Entry{}) }, ErrNoTenant)
					}
				}
			})
		}
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	entries, err := stores[0].Audit(t.Context(), Filter{Limit: mostPage})
	if d := directory(t, stores[1]); err != nil || d.Revision != changes.Load() || int64(len(entries)) != d.Revision {
		t.Errorf("revision %d and %d entries after %d changes: %v", d.Revision, len(entries), changes.Load(), err)
	}
}

func readWhole(t *testing.T, s *Store, stop chan struct{}) {
	for last := int64(0); ; {
		select {
		case <-stop:
			return
		default:
		}
		d, err := s.Directory(context.Background())
		if err != nil || d.Revision < last {
			t.Errorf("revision %d after %d: %v", d.Revision, last, err)
		}
		last = d.Revision
		have := map[string]int{}
		for _, tenant := range d.Tenants {
			have[tenant.Name] = 1
		}
		for _, k := range d.Keys {
			if have[k.Tenant]++; have[k.Tenant] != 2 {
				t.Errorf("tenant %s: %d tenants and keys", k.Tenant, have[k.Tenant])
			}
		}
	}
}

// A key is rotated once, whoever tries.
func TestOneRotation(t *testing.T) { both(t, testOneRotation) }

func testOneRotation(t *testing.T, url string) {
	stores := []*Store{opened(t, url), opened(t, url)}
	if err := stores[0].AddKey(t.Context(), newKey("old", "a"), true, Entry{}); err != nil {
		t.Fatal(err)
	}
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			next := newKey(fmt.Sprint("new", i), "a")
			next.Name = "old"
			s := stores[i%2]
			switch err := insist(s, func() error { return s.RotateKey(t.Context(), "old", next, time.Now().Add(time.Hour), Entry{}) }); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ErrEnded):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d := directory(t, stores[0])
	if won.Load() != 1 || len(d.Keys) != 2 || d.Keys[0].Replaced != d.Keys[1].ID && d.Keys[1].Replaced != d.Keys[0].ID {
		t.Errorf("%d rotations, %+v", won.Load(), d.Keys)
	}
}
