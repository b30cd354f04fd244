package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/policy"
)

const stockConfig = `
stores: {state: "sqlite:${STATE}"}
limits: {documents: 100}
tenants:
  acme:
    limits: {documents: 3, vectors: 200, flow_runs: 2}
    keys: [{name: main, key: jv-main-0123456789abcdef, limits: {vectors: 150}}]
`

// What is stored counts in the state store: it is shown, and bounds, after a restart too. Flows that run do not outlive one.
func TestStockOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "jarvis.yml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(stockConfig, "${STATE}", filepath.Join(dir, "state.db"))), 0o600); err != nil {
		t.Fatal(err)
	}
	var owner policy.Owner
	opened(t, path, func(s *live, c *policy.Caller) {
		var err error
		if owner, err = s.gate().Store(t.Context(), c, "ann", 2, 120); err != nil {
			t.Fatal(err)
		}
		if _, err = s.gate().StartRun(t.Context(), c, "ann"); err != nil {
			t.Fatal(err)
		}
		s.stands(t, "tenant/acme/documents 3 2 0 1", "tenant/acme/flow_runs 2 0 1 1", "tenant/acme/key/main/vectors 150 120 0 30", "tenant/acme/vectors 200 120 0 80")
	})
	opened(t, path, func(s *live, c *policy.Caller) {
		s.stands(t, "tenant/acme/documents 3 2 0 1", "tenant/acme/flow_runs 2 0 0 2", "tenant/acme/key/main/vectors 150 120 0 30", "tenant/acme/vectors 200 120 0 80")
		if _, err := s.gate().Store(t.Context(), c, "", 2, 0); err == nil || !strings.Contains(err.Error(), "tenant acme: documents 3") {
			t.Errorf("a restart forgot what is stored: %v", err)
		}
		if err := s.gate().Remove(t.Context(), owner, 2, 100); err != nil {
			t.Fatal(err)
		}
		s.stands(t, "tenant/acme/documents 3 0 0 3", "tenant/acme/flow_runs 2 0 0 2", "tenant/acme/key/main/vectors 150 20 0 130", "tenant/acme/vectors 200 20 0 180")
	})
}

// opened is a gateway that is open, and whose key it knows, until then returns.
func opened(t *testing.T, path string, then func(*live, *policy.Caller)) {
	t.Helper()
	s := &live{source: newSource(path), log: slog.New(slog.NewJSONHandler(io.Discard, nil))}
	var err error
	if s.conf, err = s.source.load(); err != nil {
		t.Fatal(err)
	}
	err = s.open(t.Context())
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.gate().Identify([]byte("jv-main-0123456789abcdef"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	then(s, c)
}

// stands fails unless acme's limits are shown as wanted: limit, used, held, free.
func (s *live) stands(t *testing.T, want ...string) {
	t.Helper()
	list, err := s.limits(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, at := range list {
		got = append(got, fmt.Sprint(at.ID, " ", at.Limit, " ", at.Used, " ", at.Held, " ", at.Free))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
