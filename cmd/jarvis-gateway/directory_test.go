package main

import (
	"crypto/sha256"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/state"
)

// A tenant that was made at run time and then written into the configuration, too, ends the start with an error that says so.
func TestServeConflict(t *testing.T) {
	g := start(t, clientConfig)
	g.at(t, "")
	ran(t, "tenant", "create", "acme")
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	text, err := os.ReadFile(g.path)
	if err != nil {
		t.Fatal(err)
	}
	g.configure(string(text) + "  acme: {keys: [{name: main, key: jv-acme-0123456789abcdef}]}\n")
	code, stdout, stderr := command(t, "serve", g.path)
	const want = ": tenants.acme: stands in the configuration and in the state store (made "
	if code != 1 || stdout != "" || !strings.Contains(stderr, g.path) || !strings.Contains(stderr, want) ||
		!strings.Contains(stderr, "delete one: jarvis-gateway tenant delete acme") || !strings.HasSuffix(stderr, "jarvis-gateway: the configuration has 1 problem\n") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// One that cannot be read, of a state store that can be opened, ends the start, too.
func TestServeUnreadableDirectory(t *testing.T) {
	g := start(t, clientConfig)
	g.stop()
	db, err := sql.Open("sqlite", filepath.Join(filepath.Dir(g.path), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`ALTER TABLE keys RENAME TO away`); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := command(t, "serve", g.path)
	if code != 1 || !strings.Contains(stderr, "jarvis-gateway: stores.state: ") || !strings.Contains(stderr, "keys") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

// A key that is revoked while the configuration is reloaded stays revoked, though the first reading after that fails.
func TestRevokedDuringReload(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "state.db")
	store, err := state.Open(ctx, "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	setup := policy.Setup{Tenants: map[string]policy.Tenant{"acme": {}}}
	before, err := policy.New(setup, nil)
	if err != nil {
		t.Fatal(err)
	}
	secret, made := "jv-secret", state.Entry{Kind: state.Operation, Action: "test"}
	if err := store.AddKey(ctx, state.Key{ID: "1", Tenant: "acme", Name: "main", Digest: sha256.Sum256([]byte(secret))}, true, made); err != nil {
		t.Fatal(err)
	}
	var gate atomic.Pointer[policy.Gate]
	gate.Store(before)
	d := &directory{store: store, log: slog.New(slog.DiscardHandler), gate: gate.Load, parse: parseJSON}
	d.poll(ctx)
	next, err := policy.New(setup, before)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.RevokeKey(ctx, "1", made); err != nil {
		t.Fatal(err)
	}
	d.poll(ctx) // the gate before has learnt it
	gate.Store(next)
	before.Close(next)
	if _, err := next.Identify([]byte(secret), time.Now()); err != nil {
		t.Fatalf("the next gate knows of it already, and this test tells nothing: %v", err)
	}
	for _, rename := range []string{`ALTER TABLE keys RENAME TO away`, `ALTER TABLE away RENAME TO keys`} {
		if _, err := db.Exec(rename); err != nil {
			t.Fatal(err)
		}
		d.poll(ctx) // at first, the revision can be read, and the keys cannot
	}
	if _, err := next.Identify([]byte(secret), time.Now()); err == nil {
		t.Error("the revoked key works")
	}
	next.Close(nil)
}

// Whoever changes something is told it is in force when it is, and not before: of a store that cannot be read, not at all.
func TestChangedIsInForce(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "state.db")
	store, err := state.Open(ctx, "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	gate, err := policy.New(policy.Setup{Tenants: map[string]policy.Tenant{"acme": {}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close(nil)
	d := &directory{store: store, log: slog.New(slog.DiscardHandler), gate: func() *policy.Gate { return gate }, parse: parseJSON}
	if err := d.open(ctx); err != nil {
		t.Fatal(err)
	}
	made := state.Entry{Kind: state.Operation, Action: "test"}
	for _, table := range []string{"keys", "tally"} { // of which the one has the keys and the other the revision
		secret := "jv-" + table
		key := state.Key{ID: table, Tenant: "acme", Name: table, Digest: sha256.Sum256([]byte(secret))}
		works := func() bool {
			_, err := gate.Identify([]byte(secret), time.Now())
			return err == nil
		}
		if err := store.AddKey(ctx, key, true, made); err != nil {
			t.Fatal(err)
		}
		if err := d.Changed(); err != nil || !works() {
			t.Fatalf("a new key: %v, it works: %t", err, works())
		}
		if err := store.RevokeKey(ctx, key.ID, made); err != nil {
			t.Fatal(err)
		}
		for _, rename := range []string{"ALTER TABLE " + table + " RENAME TO away", "ALTER TABLE away RENAME TO " + table} {
			if _, err := db.Exec(rename); err != nil {
				t.Fatal(err)
			}
			if err := d.Changed(); (err != nil) != works() {
				t.Errorf("%s: %v, the revoked key works: %t", rename, err, works())
			}
		}
	}
	d.Close()
	if err := d.Changed(); err == nil {
		t.Error("nobody can have learnt it")
	}
}

// A gate that comes into force while another learns a change has to learn it as well, before anyone is told.
func TestChangedDuringReload(t *testing.T) {
	ctx := t.Context()
	store, err := state.Open(ctx, "sqlite::memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	setup, made := policy.Setup{Tenants: map[string]policy.Tenant{"acme": {}}}, state.Entry{Kind: state.Operation, Action: "test"}
	if err := store.AddKey(ctx, state.Key{ID: "1", Tenant: "acme", Name: "main", Digest: sha256.Sum256([]byte("jv-secret"))}, true, made); err != nil {
		t.Fatal(err)
	}
	before, err := policy.New(setup, nil)
	if err != nil {
		t.Fatal(err)
	}
	inForce := before
	d := &directory{store: store, log: slog.New(slog.DiscardHandler), gate: func() *policy.Gate { return inForce }, parse: parseJSON}
	if err := d.poll(ctx); err != nil {
		t.Fatal(err)
	}
	next, err := policy.New(setup, before) // of what there is before the change
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close(nil)
	if err := store.RevokeKey(ctx, "1", made); err != nil {
		t.Fatal(err)
	}
	looks := 0
	d.gate = func() *policy.Gate {
		if looks++; looks > 2 { // the gate before is the one that learns
			inForce = next
		}
		return inForce
	}
	if err := d.poll(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := next.Identify([]byte("jv-secret"), time.Now()); err == nil {
		t.Error("the revoked key works")
	}
}
