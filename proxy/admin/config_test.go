package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"jarvis-gateway/proxy/state"
)

// keepVersions keeps two versions, of which the second is in force.
func (s *stage) keepVersions() {
	s.Helper()
	if _, err := s.setup.Store.ConfigSalt(s.Context()); err != nil {
		s.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		s.setup.Store.KeepVersion(versionOf(text))
	}
	if err := s.setup.Store.Flush(s.Context()); err != nil {
		s.Fatal(err)
	}
}

func versionOf(text string) state.Version {
	v := state.Version{SHA256: "sha of " + text, Author: "start", Files: []state.ConfigFile{{Name: "jarvis.yml", Kind: "main", Text: "models:\n  " + text + ": {}\n"}}}
	if text != "one" {
		v.Author = "file"
		v.Files = append(v.Files, state.ConfigFile{Name: "more.yml", Kind: "include", Text: "tenants: {}\n"})
	}
	return v
}

func TestConfigVersions(t *testing.T) {
	s := newStage(t)
	if list := s.must("GET", "/config/versions", ""); list.get("data.#") != "0" {
		t.Errorf("%s", list.body)
	}
	s.want(s.owner("GET", "/config/diff", ""), 400, "", "to") // nothing is in force that was kept
	s.keepVersions()
	list := s.must("GET", "/config/versions", "")
	if list.get("data.#.id") != "[2,1]" || list.get("data.#.author") != `["file","start"]` || list.get("data.#.current") != "[true,false]" || list.get("data.#.pinned") != "[false,false]" {
		t.Errorf("%s", list.body)
	}
	page := s.must("GET", "/config/versions?limit=1", "")
	if page.get("has_more") != "true" || s.must("GET", "/config/versions?limit=1&after="+page.get("last_id"), "").get("data.0.id") != "1" {
		t.Errorf("%s", page.body)
	}
	one := s.must("GET", "/config/versions/2", "")
	if one.get("files.#.name") != `["jarvis.yml","more.yml"]` || one.get("files.1.text") != "tenants: {}\n" || one.get("sha256") != "sha of two" {
		t.Errorf("%s", one.body)
	}
	const want = "--- version 1/jarvis.yml\n+++ version 2/jarvis.yml\n@@ -1,2 +1,2 @@\n models:\n-  one: {}\n+  two: {}\n--- /dev/null\n+++ version 2/more.yml\n@@ -0,0 +1 @@\n+tenants: {}\n"
	for _, query := range []string{"", "?from=1", "?to=2", "?from=1&to=2"} {
		if d := s.must("GET", "/config/diff"+query, ""); d.get("diff") != want || d.get("from") != "1" {
			t.Errorf("%s: %s", query, d.get("diff"))
		}
	}
	if d := s.must("GET", "/config/diff?from=2&to=2", ""); d.get("diff") != "" {
		t.Errorf("%s", d.body)
	}
	if d := s.must("GET", "/config/diff?to=1", ""); d.get("from") != "0" || !strings.HasPrefix(d.get("diff"), "--- /dev/null\n") {
		t.Errorf("%s", d.body)
	}
	for _, try := range []struct {
		path, param string
		status      int
	}{
		{"/config/versions/3", "", 404}, {"/config/versions/x", "version", 400}, {"/config/versions?after=x", "after", 400}, {"/config/versions?limit=0", "limit", 400},
		{"/config/diff?from=9", "", 404}, {"/config/diff?to=9", "", 404}, {"/config/diff?from=-1", "from", 400},
	} {
		s.want(s.owner("GET", try.path, ""), try.status, map[int]string{404: "not_found"}[try.status], try.param)
	}
}

func TestConfigRollback(t *testing.T) {
	var asked []string
	var refuse error
	s := newStage(t, func(setup *Setup) {
		store := setup.Store
		setup.Rollback = func(ctx context.Context, version int64, by string) error {
			asked = append(asked, fmt.Sprint(version, " by ", by))
			if refuse != nil {
				return refuse
			}
			_, err := store.PinVersion(ctx, versionOf("one"), "files")
			return err
		}
		setup.Unpin = func(ctx context.Context, by string) error {
			asked = append(asked, "unpin by "+by)
			if refuse != nil {
				return refuse
			}
			return store.Unpin(ctx, versionOf("two"))
		}
	})
	s.keepVersions()
	for body, param := range map[string]string{``: "version", `{}`: "version", `{"version":"1"}`: "version", `{"version":1.5}`: "version", `{"version":null}`: "version", `{"version":1,"force":true}`: "force"} {
		s.want(s.owner("POST", "/config/rollback", body), 400, "", param)
	}
	if asked != nil {
		t.Fatalf("%v", asked)
	}
	if a := s.must("POST", "/config/rollback", `{"version":1}`); a.get("pinned") != "true" || a.get("version") != "2" {
		t.Errorf("%s", a.body) // the stage stays at two
	}
	list := s.must("GET", "/config/versions", "")
	if list.get("data.0.pinned") != "true" || list.get("data.0.pinned_by") != "start" || list.get("data.0.current") != "false" {
		t.Errorf("pinned, and this gateway does not follow: %s", list.body)
	}
	if a := s.must("POST", "/config/unpin", ""); a.get("pinned") != "false" {
		t.Errorf("%s", a.body)
	}
	for _, try := range []struct {
		err    error
		status int
		code   string
		param  string
	}{
		{Refused{errors.New("models.chat.targets[0].provider: unknown provider \"x\"")}, 400, "config_invalid", "models.chat.targets[0].provider"},
		{fmt.Errorf("version 7: %w", state.ErrNoVersion), 404, "not_found", ""},
		{errors.New("the disk"), 503, "state_unavailable", ""},
	} {
		refuse = try.err
		s.want(s.owner("POST", "/config/rollback", `{"version":7}`), try.status, try.code, try.param)
	}
	refuse = ErrNotPinned
	s.want(s.owner("POST", "/config/unpin", ""), 409, "not_pinned", "")
	if got := strings.Join(asked, ", "); got != "1 by admin_key, unpin by admin_key, 7 by admin_key, 7 by admin_key, 7 by admin_key, unpin by admin_key" {
		t.Errorf("%s", got)
	}
	if err := s.setup.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	log := s.must("GET", "/audit?kind=config", "")
	if log.get("data.#.action") != `["config.rollback","config.unpin","config.rollback","config.rollback","config.rollback","config.unpin"]` || log.get("data.0.after.version") != "1" || log.get("data.2.after.rolled_back") != "false" {
		t.Errorf("%s", log.body)
	}
}
