// Package acceptance holds the test with official clients: the real gateway, in front of simulated providers that replay
// recorded traffic, must look to OpenAI's and others' client libraries as the recorded provider did.
package acceptance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// program is a script in node/ or python/ that makes calls with one client library.
type program struct {
	client   string
	language string
	file     string
	verbatim bool // it sends every recorded request as it was recorded
}

func programs() []program {
	return []program{
		{"openai", "Node", "openai.js", true},
		{"openai, other dialects", "Node", "openai_translated.js", false},
		{"@anthropic-ai/sdk", "Node", "anthropic.js", false},
		{"ai + @ai-sdk/openai", "Node", "ai.js", false},
		{"ai, other dialects", "Node", "ai_translated.js", false},
		{"@langchain/openai", "Node", "langchain.js", false},
		{"openai", "Python", "openai_sync.py", true},
		{"openai, other dialects", "Python", "openai_translated.py", false},
		{"anthropic", "Python", "anthropic_client.py", false},
		{"openai (async)", "Python", "openai_async.py", false},
		{"langchain-openai", "Python", "langchain_client.py", false},
	}
}

// line is what a program reports: its client's version, then each call, then that it is done.
type line struct {
	Version  string
	Call     string
	Error    string // the difference; empty: as expected
	Upstream []expectation
	Done     bool
}

// expectation is what a provider must have seen of the script with this id.
type expectation struct {
	ID       string
	Requests int
	Gap      int64             // milliseconds between the first two at least
	Left     int64             // when the client left, as Unix milliseconds; the provider must have been left soon after
	Header   map[string]string // of the last request; empty: not there
	Body     map[string]any    // of the last request, by gjson path; nil: not there
}

// direct leaves the gateway out: what fails then too is not its doing.
var direct = os.Getenv("ACCEPTANCE_DIRECT") != ""

// soon is how fast the provider must be left. Streams that are left would go on for far longer; how fast the gateway really
// is, its own tests measure: here a busy machine may hold up the client.
const soon = 20 * time.Second

// result is one row of the table at the end.
type result struct {
	program
	version       string
	calls, passed int
	took          time.Duration
}

func TestOfficialClients(t *testing.T) {
	if testing.Short() {
		t.Skip("installs client libraries and runs them")
	}
	all := append(recordings(t), toldRecordings(t)...)
	langs := languages()
	var installs sync.WaitGroup
	for _, l := range langs {
		installs.Go(func() { l.err = l.prepare() })
	}
	path := binary(t, t.TempDir())
	installs.Wait()
	results := make([]result, len(programs()))
	t.Run("clients", func(t *testing.T) {
		for i, p := range programs() {
			t.Run(p.language+" "+p.client, func(t *testing.T) {
				t.Parallel()
				l := langs[p.language]
				l.need(t)
				results[i] = p.test(t, l, path, all)
			})
		}
		t.Run("README", func(t *testing.T) {
			t.Parallel()
			langs["Python"].need(t)
			testReadme(t, langs["Python"], path)
		})
	})
	t.Log("\n" + table(langs, results))
}

func table(langs map[string]*language, results []result) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "client\tversion\tlanguage\tcalls\tpassed\ttime")
	for _, r := range results {
		if r.calls > 0 {
			fmt.Fprintf(w, "%s\t%s\t%s %s\t%d\t%d\t%.1fs\n", r.client, r.version, r.language, langs[r.language].version, r.calls, r.passed, r.took.Seconds())
		}
	}
	_ = w.Flush() // into memory
	return b.String()
}

// test runs the program against a gateway and providers of its own.
func (p program) test(t *testing.T, l *language, binary string, all []*recording) result {
	u := startUpstreams(t, all)
	g := startGateway(t, binary, u)
	begun := time.Now()
	env := []string{"OPENAI_BASE_URL=" + g.url, "OPENAI_API_KEY=" + tenantKey,
		"ANTHROPIC_BASE_URL=" + strings.TrimSuffix(g.url, "/v1"), "ANTHROPIC_API_KEY=" + tenantKey}
	if direct {
		env = []string{"OPENAI_BASE_URL=" + u.servers["openai"].URL() + "/v1", "OPENAI_API_KEY=" + u.keys["openai"],
			"ANTHROPIC_BASE_URL=" + u.servers["anthropic"].URL(), "ANTHROPIC_API_KEY=" + u.keys["anthropic"]}
	}
	lines := p.run(t, l, env, all)
	res := result{program: p, took: time.Since(begun)}
	g.stop(t) // whatever it holds open is closed now, and what providers saw is final
	scripts := u.scriptsSeen()
	for _, said := range lines {
		if said.Version != "" {
			res.version = said.Version
			continue
		}
		res.calls++
		ok := t.Run(said.Call, func(t *testing.T) {
			if said.Error != "" {
				t.Errorf("%s (%s), %s: %s", p.client, p.language, said.Call, said.Error)
			}
			for _, want := range said.Upstream {
				want.check(t, scripts[want.ID])
			}
		})
		if ok {
			res.passed++
		}
	}
	if direct {
		return res
	}
	u.check(t)
	if p.verbatim {
		u.checkRequests(t)
	}
	return res
}

// run starts the program with nothing but base URLs and keys, and reads its report.
func (p program) run(t *testing.T, l *language, env []string, all []*recording) []line {
	plan := filepath.Join(t.TempDir(), "plan.json")
	others, ours := partition(all, func(r *recording) bool { return r.Told != nil })
	doc := map[string]any{"recordings": ours, "told": others, "file": noise()}
	if err := os.WriteFile(plan, encode(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := p.command(t, l)
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LANG", "SYSTEMROOT"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	cmd.Env = append(append(cmd.Env, env...), "ACCEPTANCE_PLAN="+plan, "PYTHONDONTWRITEBYTECODE=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	lines, done := readLines(&stdout)
	if err != nil || !done {
		t.Errorf("%s: ended before its end: %v\n%s%s", p.file, err, stdout.Bytes(), stderr.Bytes())
	}
	return lines
}

func partition(all []*recording, wanted func(*recording) bool) (those, rest []*recording) {
	for _, r := range all {
		if wanted(r) {
			those = append(those, r)
		} else {
			rest = append(rest, r)
		}
	}
	return those, rest
}

// command runs the program beside its packages: Node finds them nowhere else.
func (p program) command(t *testing.T, l *language) *exec.Cmd {
	if p.language != "Node" {
		return l.run(l.dir, p.file)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(l.folder)); err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join(dir, "node_modules")
	if err := os.RemoveAll(modules); err != nil { // of someone who looked at the programs with an editor
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(l.dir, "node_modules"), modules); err != nil {
		t.Fatal(err)
	}
	return l.run(dir, p.file)
}

// readLines leaves out what is no report, such as warnings of libraries.
func readLines(out *bytes.Buffer) (lines []line, done bool) {
	s := bufio.NewScanner(out)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var l line
		if json.Unmarshal(s.Bytes(), &l) != nil {
			continue
		}
		if l.Done {
			return lines, true
		}
		lines = append(lines, l)
	}
	return lines, false
}
