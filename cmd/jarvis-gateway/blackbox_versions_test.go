package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/state"
)

const versionedConfig = `
# the old one was sk-canary-comment
providers:
  sim: {kind: simulated}
  up: {kind: openai, api_key: sk-canary-provider}
models: {MODEL: {targets: [{provider: sim, model: m}]}}
tenants:
  acme:
    keys: [{name: main, key: jv-canary-0123456789abcdef}]
    alerts: {webhook: https://hooks.test/canary-path, secret: canary-alert-secret}
`

const versionedKey = "jv-canary-0123456789abcdef"

// serves tells which models a gateway serves, by what it answers to requests.
func (g *running) serves(t *testing.T, models ...string) (found []string) {
	t.Helper()
	for _, model := range models {
		if a := g.ask(t, strings.Replace(chatRequest(model, false), "\n\n", "\nAuthorization: Bearer "+versionedKey+"\n\n", 1)); a.status == 200 {
			found = append(found, model)
		}
	}
	return found
}

func (g *running) servesOnly(t *testing.T, model string) {
	t.Helper()
	eventually(t, "only "+model, func() bool { return fmt.Sprint(g.serves(t, "one", "two", "three")) == "["+model+"]" })
}

// deploy puts a config in the place of the one that is there, at once: half of it would be another version.
func (g *running) deploy(text string) {
	g.Helper()
	next := g.path + ".next"
	if err := errors.Join(os.WriteFile(next, []byte(text), 0o600), os.Rename(next, g.path)); err != nil {
		g.Fatal(err)
	}
}

func versions(t *testing.T) gjson.Result {
	t.Helper()
	out, _ := ran(t, "config", "versions", "--json")
	return gjson.Get(out, "data")
}

// An operator's day: what was in force is listed and compared, and comes back.
func TestConfigVersions(t *testing.T) {
	config := func(model string) string { return strings.Replace(versionedConfig, "MODEL", model, 1) }
	g := start(t, config("one"))
	main, err := os.ReadFile(g.path)
	if err != nil {
		t.Fatal(err)
	}
	head := strings.TrimSuffix(string(main), config("one"))
	change := func(model string) { g.deploy(head + config(model)) }
	g.at(t, "")
	if got := versions(t); got.Get("#").Int() != 1 || got.Get("0.author").Str != "start" || !got.Get("0.current").Bool() || got.Get("0.pinned").Bool() {
		t.Errorf("%s", got)
	}
	if code, _, stderr := command(t, "config", "unpin"); code != 1 || !strings.Contains(stderr, "No version is pinned") {
		t.Errorf("%d %s", code, stderr)
	}
	change("two")
	g.servesOnly(t, "two")
	g.deploy(head + "models: {two: {targets: [{provider: gone}]}}\n")
	eventually(t, "the refusal", g.logged("the config was not reloaded; the one before stays in force", "gone"))
	if got := versions(t); got.Get("#").Int() != 2 || got.Get("0.author").Str != "file" || !got.Get("0.current").Bool() || got.Get("1.current").Bool() {
		t.Errorf("after a refused reload: %s", got)
	}
	change("two")
	if diff, _ := ran(t, "config", "diff", "1", "2"); !strings.Contains(diff, "--- version 1/jarvis.yml\n+++ version 2/jarvis.yml\n") || !strings.Contains(diff, "\n-models: {one: {") || !strings.Contains(diff, "\n+models: {two: {") {
		t.Errorf("%s", diff)
	}

	// The version takes the place of the files, which stay.
	if out, _ := ran(t, "config", "rollback", "1"); out != "Version 3 is in force in place of the files.\n" {
		t.Errorf("%q", out)
	}
	if got := fmt.Sprint(g.serves(t, "one", "two")); got != "[one]" {
		t.Errorf("after rolling back it serves %s", got)
	}
	if now, err := os.ReadFile(g.path); err != nil || string(now) != head+config("two") {
		t.Errorf("the file was written: %v\n%s", err, now)
	}
	table, _ := ran(t, "config", "versions")
	lines := strings.Split(table, "\n")
	if len(lines) != 5 || !strings.HasPrefix(lines[0], "VERSION  TIME ") || !strings.HasSuffix(lines[1], "in force, pinned by local, as version 1") || !strings.HasPrefix(lines[1], "3 ") || !strings.HasSuffix(lines[3], "  -") {
		t.Errorf("%s", table)
	}
	shown, _ := ran(t, "config", "show", "3")
	if !strings.Contains(shown, "# jarvis.yml\n") || !strings.Contains(shown, "models: {one:") || !strings.Contains(shown, `api_key: "*** `) {
		t.Errorf("%s", shown)
	}
	ran(t, "config", "rollback", "2")
	g.servesOnly(t, "two")
	ran(t, "config", "rollback", "1")

	// A reload is one of the pinned version.
	reload, err := (&client{wait: time.Minute}).call(t.Context(), "POST", "/config/reload", nil)
	if err != nil || !reload.Get("reloaded").Bool() || fmt.Sprint(g.serves(t, "one", "two")) != "[one]" {
		t.Errorf("%s, %v", reload, err)
	}

	// It is in force after a restart, and says so.
	g.stop()
	again := startAt(t, g.path)
	again.at(t, "")
	if got := fmt.Sprint(again.serves(t, "one", "two")); got != "[one]" || !strings.Contains(again.welcome, "note: version 5 of the configuration is in force in place of the files: local pinned it at 2") {
		t.Errorf("after a restart it serves %s\n%s", got, again.welcome)
	}
	if got := versions(t); got.Get("#").Int() != 5 || !got.Get("0.current").Bool() || !got.Get("0.pinned").Bool() {
		t.Errorf("%s", got)
	}

	// Files that do not work change nothing; files that do end it, for good.
	g = again
	g.deploy(head + "models: {}\nproviders: {}\nnonsense: 1\n")
	eventually(t, "the refusal", g.logged("the config was not reloaded; the one before stays in force", "nonsense"))
	g.servesOnly(t, "one")
	change("three")
	g.servesOnly(t, "three")
	if got := versions(t); got.Get("#").Int() != 6 || got.Get("0.author").Str != "file" || got.Get("#(pinned==true)").Exists() {
		t.Errorf("%s", got)
	}
	change("two")
	g.servesOnly(t, "two")

	// Unpinning has the files go again.
	ran(t, "config", "rollback", "1")
	g.servesOnly(t, "one")
	if out, _ := ran(t, "config", "unpin"); out != "The files are in force.\n" {
		t.Errorf("%q", out)
	}
	g.servesOnly(t, "two")
	if got := versions(t); got.Get("0.author").Str != "local" || got.Get("0.sha256").Str != got.Get("2.sha256").Str {
		t.Errorf("%s", got)
	}
	audit, _ := ran(t, "audit", "--kind", "config", "--json")
	for _, want := range []string{"config.rollback", "config.unpin", "config.reload", "config.refused"} {
		if !strings.Contains(audit, `"action":"`+want+`"`) {
			t.Errorf("no %s in\n%s", want, audit)
		}
	}

	// What the store's files hold, and what was told, has no secret.
	g.stop()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(g.path), "state.db*"))
	if err != nil || len(found) == 0 {
		t.Fatal(err)
	}
	for _, file := range found {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		keepsSecrets(t, file, string(text), "canary")
	}
	keepsSecrets(t, "the log", g.log.String()+again.log.String()+shown+audit, "canary")
}

// A version that works no more changes nothing.
func TestRollbackRefused(t *testing.T) {
	t.Setenv("VERSIONED_KEY", "jv-environment-0123456789")
	one := strings.Replace(clientConfig, "key: jv-filed", "key: \"${VERSIONED_KEY}\"}, {name: two, key: jv-gone", 1)
	g := start(t, one)
	g.at(t, "")
	head, err := os.ReadFile(g.path)
	if err != nil {
		t.Fatal(err)
	}
	g.deploy(strings.Replace(string(head), one, strings.Replace(clientConfig, "chat:", "talk:", 1), 1))
	eventually(t, "the reload", g.logged(reloaded, ""))
	if err := os.Unsetenv("VERSIONED_KEY"); err != nil {
		t.Fatal(err)
	}
	before := g.metrics()
	for _, try := range []struct{ args, stderr string }{
		{"config rollback 1", "tenants.filed.keys[0].key: the environment variable VERSIONED_KEY is not set"},
		{"config rollback 1", "tenants.filed.keys[1].key: the secret that stood here is in no file any more"},
		{"config rollback 9", `There is no version "9"`},
		{"config rollback x", `"x" is no version`},
		{"config rollback -- -1", `"-1" is no version`},
		{"config show 9", `There is no version "9"`},
		{"config show x", "expected the id of a version"},
		{"config diff 1 9", `There is no version "9"`},
	} {
		if code, _, stderr := command(t, strings.Fields(try.args)...); code != 1 || !strings.Contains(stderr, try.stderr) {
			t.Errorf("%s: %d %s", try.args, code, stderr)
		}
	}
	if got := versions(t); got.Get("#").Int() != 2 || !got.Get("0.current").Bool() || got.Get("#(pinned==true)").Exists() {
		t.Errorf("%s", got)
	}
	if after := g.metrics(); after[`jarvis_config_reloads_total{result="ok"}`] != before[`jarvis_config_reloads_total{result="ok"}`] {
		t.Error("a refused rollback counts as a reload")
	}
	keepsSecrets(t, "the log", g.log.String(), "jv-environment", "jv-gone")
}

// A pinned version that works no more keeps no gateway from starting: the files go, and the operator can see that.
func TestPinnedThatWorksNoMore(t *testing.T) {
	one := strings.Replace(clientConfig, "chat:", "one:", 1) + "roles: {extra: {permissions: [\"${VERSIONED_ROLE:-documents:read}\"]}}\n"
	g := start(t, one)
	g.at(t, "")
	head, err := os.ReadFile(g.path)
	if err != nil {
		t.Fatal(err)
	}
	two := strings.Replace(string(head), one, strings.Replace(clientConfig, "chat:", "two:", 1), 1)
	g.deploy(two)
	eventually(t, "the reload", g.logged(reloaded, ""))
	ran(t, "config", "rollback", "1")
	// While the files are wrong, they cannot go again.
	g.deploy("nonsense: 1\n")
	eventually(t, "the refusal", g.logged("the config was not reloaded; the one before stays in force", "nonsense"))
	if code, _, stderr := command(t, "config", "unpin"); code != 1 || !strings.Contains(stderr, "The pinned version stays in force") || !strings.Contains(stderr, "nonsense: unknown key") {
		t.Errorf("%d %s", code, stderr)
	}
	g.deploy(two)
	g.stop()
	t.Setenv("VERSIONED_ROLE", "no such permission")
	g = startAt(t, g.path)
	g.at(t, "")
	if !g.logged("the pinned version of the config does not work; the files are in force", "roles.extra.permissions[0]")() || strings.Contains(g.welcome, "note: version") {
		t.Errorf("%s\n%s", g.welcome, g.log.String())
	}
	if models, _ := ran(t, "config", "show", versions(t).Get("#(current==true).id").String()); !strings.Contains(models, "two:") {
		t.Errorf("%s", models)
	}
	if got := versions(t); got.Get("#(pinned==true).current").Bool() || !got.Get("#(pinned==true)").Exists() {
		t.Errorf("%s", got)
	}
	eventually(t, "the metric", func() bool { return g.metrics()["jarvis_config_last_reload_successful"] == 0 })
	ran(t, "config", "unpin")
	if got := versions(t); got.Get("#(pinned==true)").Exists() || g.metrics()["jarvis_config_last_reload_successful"] != 1 {
		t.Errorf("%s", got)
	}
}

// Gateways that share a store share versions, and go back together.
func TestRollbackOfSeveral(t *testing.T) {
	url := startPostgres(t)
	t.Chdir(t.TempDir()) // counters keep a file where the gateway runs
	config := func(model string) string {
		return "stores: {state: \"" + url + "\"}\nserver: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}\n" + strings.Replace(versionedConfig, "MODEL", model, 1)
	}
	a, b := start(t, config("one")), start(t, config("one"))
	a.at(t, "")
	a.deploy(config("two"))
	b.deploy(config("two"))
	a.servesOnly(t, "two")
	b.servesOnly(t, "two")
	if got := versions(t); got.Get("#").Int() != 2 {
		t.Errorf("%s", got)
	}
	ran(t, "config", "rollback", "1")
	a.servesOnly(t, "one")
	b.servesOnly(t, "one")
	b.at(t, "")
	if got := versions(t); got.Get("#").Int() != 3 || !got.Get("0.current").Bool() || !got.Get("0.pinned").Bool() || got.Get("0.restores").Int() != 1 {
		t.Errorf("%s", got)
	}

	// Where the files change they go; elsewhere the version stays until they do there.
	a.deploy(config("three"))
	a.servesOnly(t, "three")
	eventually(t, "the end of the pin", func() bool { return versions(t).Get("0.author").Str == "file" })
	time.Sleep(2 * pollEvery)
	b.servesOnly(t, "one")
	b.deploy(config("three"))
	b.servesOnly(t, "three")

	// It takes a second or two, of which a machine that is busy may make more, but not each time.
	var took []time.Duration
	for try := 0; try < quietRounds && (try == 0 || slices.Min(took) > 3*time.Second); try++ {
		begun := time.Now()
		ran(t, "config", "rollback", fmt.Sprint(1+try%2))
		b.servesOnly(t, []string{"one", "two"}[try%2])
		took = append(took, time.Since(begun))
	}
	if slices.Min(took) > 3*time.Second {
		t.Errorf("the other gateway took %v", took)
	}

	// What one gateway unpins, all do.
	ran(t, "config", "rollback", "2")
	a.servesOnly(t, "two")
	b.servesOnly(t, "two")
	a.at(t, "")
	ran(t, "config", "unpin")
	a.servesOnly(t, "three")
	b.servesOnly(t, "three")
	if a.stop() != 0 || b.stop() != 0 {
		t.Error("a gateway ended badly")
	}
}

// startPostgres starts a server for one test and returns the URL of its database.
func startPostgres(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if at, err := exec.LookPath("initdb"); err == nil {
		found = []string{at}
	}
	if len(found) == 0 {
		t.Skip("no Postgres is installed")
	}
	bin, dir := filepath.Dir(found[len(found)-1]), newDir(t)
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 { // it refuses to run as root
		who, err := user.Lookup("postgres")
		if err != nil {
			t.Skip("no user to run Postgres as: ", err)
		}
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", dir+"/data", "-U", "jarvis", "-A", "trust", "-E", "UTF8", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, attr
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(free.Addr().(*net.TCPAddr).Port)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	const watched = `"$@" </dev/null & server=$!; read end; kill -QUIT $server; wait $server` // it ends with the test, also when that is killed
	server := exec.Command("sh", "-c", watched, "sh", filepath.Join(bin, "postgres"), "-D", dir+"/data", "-p", port, "-k", dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off")
	server.Dir, server.SysProcAttr = dir, attr
	alive, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = alive.Close()
		_ = server.Wait()
	})
	url := "postgres://jarvis@127.0.0.1:" + port + "/postgres?sslmode=disable"
	eventually(t, "Postgres", func() bool {
		store, err := state.Open(t.Context(), url)
		return err == nil && store.Close() == nil
	})
	return url
}

// newDir is a folder that another user can reach, which those of tests are not.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "jarvis-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	return dir
}
