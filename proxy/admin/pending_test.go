package admin

import (
	"errors"
	"strings"
	"testing"
)

// newDeafStage is a stage whose gate learns nothing while there is an error.
func newDeafStage(t *testing.T, away *error) (s *stage) {
	s = newStage(t, func(setup *Setup) {
		setup.Changed = func() error {
			if *away != nil {
				return *away
			}
			return s.learn()
		}
	})
	return s
}

// What is stored but not in force is not told as if it were: a key that is said to be revoked works nowhere in this process.
func TestStoredButNotInForce(t *testing.T) {
	var away error
	s := newDeafStage(t, &away)
	s.must("POST", "/tenants", `{"name":"acme","teams":{"ops":{}}}`)
	key := s.newKey("acme", "ci", "developer")
	away = errors.New("dial tcp 10.1.2.3: refused")
	for _, try := range []struct{ method, path, body string }{
		{"PATCH", "/tenants/acme/keys/ci", `{"expires":"2020-01-01"}`},
		{"DELETE", "/tenants/acme/keys/ci", ""},
		{"PATCH", "/tenants/acme", `{"models":["chat"]}`},
		{"POST", "/tenants", `{"name":"globex"}`},
		{"DELETE", "/tenants/acme", ""},
	} {
		got := s.owner(try.method, try.path, try.body)
		s.want(got, 503, "state_unavailable", "")
		if !strings.Contains(got.body, "is stored, but not in force yet") || strings.Contains(got.body, "10.1.2.3") {
			t.Errorf("%s %s: %s", try.method, try.path, got.body)
		}
		if !s.works(key) {
			t.Fatal("the key is dead all the same, and this test tells nothing")
		}
	}
	if !strings.Contains(s.log.String(), "10.1.2.3") {
		t.Error("the log does not tell why")
	}
	away = nil
	s.must("GET", "/tenants/globex", "")
	s.must("PATCH", "/tenants/globex", `{"models":["chat"]}`)
	if s.works(key) {
		t.Error("the key works")
	}
}

// A new key is handed out all the same, as nobody could show it later, and what it is not good for yet is said.
func TestNewKeyNotInForce(t *testing.T) {
	var away error
	s := newDeafStage(t, &away)
	s.must("POST", "/tenants", `{"name":"acme"}`)
	key := s.newKey("acme", "old", "developer")
	away = errors.New("no answer")
	made := s.must("POST", "/tenants/acme/keys", `{"name":"new"}`)
	next := s.must("POST", "/tenants/acme/keys/old/rotate", `{"overlap":"0s"}`)
	for _, got := range []answer{made, next} {
		if s.works(got.get("key")) || !strings.Contains(got.get("warning"), "It does not work yet") {
			t.Errorf("%s", got.get("warning"))
		}
	}
	s.want(s.owner("POST", "/tenants/acme/keys", `{"name":"x","team":"new"}`), 503, "state_unavailable", "") // whether there is such a team is not known
	away = nil
	if later := s.must("POST", "/tenants/acme/keys", `{"name":"later"}`); strings.Contains(later.get("warning"), "work") || !s.works(later.get("key")) {
		t.Errorf("%s", later.get("warning"))
	}
	if !s.works(made.get("key")) || !s.works(next.get("key")) || s.works(key) {
		t.Error("what was stored is not in force")
	}
}
