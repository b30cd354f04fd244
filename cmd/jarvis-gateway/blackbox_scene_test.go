package main

import (
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"golang.org/x/tools/txtar"
)

// A file of testdata/blackbox is one gateway and what happens to it. Its sections:
//
//	config.yml      the config; without it, defaultConfig
//	case NAME       a client connects and sends this request, see rawRequest
//	hasty case NAME the same; as something must happen within moments, it is played until it does, a few times at most
//	then            and, after its answer, this one over the same connection
//	upstream        what the next request to ${UPSTREAM} is answered, see upstream.script; second: the same for ${SECOND}
//	response        what the client gets: status, headers, body; "!Name" is a header that is not there, "~" begins a pattern
//	saw             what ${UPSTREAM} was sent: request line, headers, body; second saw: the same for ${SECOND}
//	access          fields of the access line, as name=value or !name
//	metrics         series and by how much they grew
//
// Streams are played three times: each part at once, byte by byte, and with CRLF for line ends; save those that hang.

type scene struct {
	name    string
	hasty   bool
	steps   []step
	replies [2][]string
	saw     [2][]string
	metrics string
}

type step struct{ request, response, access string }

// claim is what an access line must say, looked at after all scenes, as lines are written with a delay.
type claim struct{ scene, id, want string }

func TestBlackBox(t *testing.T) {
	files, err := filepath.Glob("testdata/blackbox/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { playFile(t, file) })
	}
}

// stage is where the scenes of a file are played.
type stage struct {
	*running
	servers [2]*upstream
	claims  []claim
}

func playFile(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{servers: [2]*upstream{newUpstream(t), newUpstream(t)}}
	fill := s.names(t)
	config, scenes := readScenes(t, archive, fill)
	s.running = start(t, fill.Replace(config))
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) { s.playScene(t, scene) })
	}
	s.idle()
	for _, c := range s.claims {
		checkAccess(t, c, s.access(c.id))
	}
	keepsSecrets(t, "the log", s.log.String(), tenantKey, upstreamKey, confidence)
}

// names are what the sections may refer to.
func (s *stage) names(t *testing.T) *strings.Replacer {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("${TESTDATA}", testdata, "${SILENT}", silent.Addr().String(), "${UPSTREAM}", s.servers[0].addr(), "${SECOND}", s.servers[1].addr(), "${REFUSED}", closed.Addr().String(),
		"${KEY}", tenantKey, "${UPSTREAM_KEY}", upstreamKey)
}

func readScenes(t *testing.T, archive *txtar.Archive, fill *strings.Replacer) (config string, scenes []*scene) {
	config = defaultConfig
	var now *scene
	for _, f := range archive.Files {
		text := fill.Replace(string(f.Data))
		title, hasty := strings.CutPrefix(f.Name, "hasty ")
		kind, name, _ := strings.Cut(title, " ")
		if now == nil && kind != "config.yml" && kind != "case" {
			t.Fatalf("%s before the first case", f.Name)
		}
		switch kind {
		case "config.yml":
			config = text
		case "case":
			now = &scene{name: name, hasty: hasty, steps: []step{{request: text}}}
			scenes = append(scenes, now)
		case "then":
			now.steps = append(now.steps, step{request: text})
		case "upstream":
			now.replies[0] = append(now.replies[0], text)
		case "saw":
			now.saw[0] = append(now.saw[0], text)
		case "second":
			if name == "saw" {
				now.saw[1] = append(now.saw[1], text)
			} else {
				now.replies[1] = append(now.replies[1], text)
			}
		case "response":
			now.steps[len(now.steps)-1].response = text
		case "access":
			now.steps[len(now.steps)-1].access = text
		case "metrics":
			now.metrics = text
		default:
			t.Fatalf("unknown section %q", f.Name)
		}
	}
	return config, scenes
}

func (s *stage) playScene(t *testing.T, scene *scene) {
	manners := []manner{{name: "whole"}}
	if slices.ContainsFunc(slices.Concat(scene.replies[0], scene.replies[1]), func(reply string) bool {
		_, _, body, _ := splitMessage(reply)
		return isEvents(body) && !strings.Contains(body, "@hang") // which takes its time
	}) {
		manners = append(manners, manner{name: "bytewise", bytewise: true}, manner{name: "crlf", crlf: true})
	}
	for _, m := range manners {
		t.Run(m.name, func(t *testing.T) {
			if !scene.hasty {
				s.playOnce(t, scene, m)
				return
			}
			claims := len(s.claims)
			quietly(t, func(t testing.TB) {
				s.claims = s.claims[:claims]
				s.playOnce(t, scene, m)
			})
		})
	}
}

func (s *stage) playOnce(t testing.TB, scene *scene, m manner) {
	for i, u := range s.servers {
		u.scriptIn(m, scene.replies[i]...)
	}
	var before map[string]float64
	if scene.metrics != "" {
		before = s.metrics()
	}
	c := s.dial(t)
	defer c.Close()
	c.begun = func() { s.servers[0].clientBegun(); s.servers[1].clientBegun() }
	for _, step := range scene.steps {
		a := c.do(step.request)
		checkAnswer(t, a, step.response, m)
		keepsSecrets(t, "the answer", a.String(), upstreamKey, s.servers[0].addr(), s.servers[1].addr())
		if step.access != "" {
			s.claims = append(s.claims, claim{t.Name(), a.header.Get("X-Request-Id"), step.access})
		}
	}
	for i, u := range s.servers {
		checkSaw(t, u.sightings(), scene.saw[i], len(scene.replies[i]))
	}
	if scene.metrics != "" {
		s.checkMetrics(t, before, scene.metrics)
	}
}

func checkAnswer(t testing.TB, a answer, want string, m manner) {
	t.Helper()
	status, fields, body, hasBody := splitMessage(want)
	if want == "" {
		status, hasBody = a.status, false
	}
	if a.status != status {
		t.Errorf("status %d, want %d: %s", a.status, status, a.body)
	}
	checkHeaders(t, "the answer", a.header, fields)
	if a.header.Get("X-Request-Id") == "" && a.body != `{"status":"ok"}` && a.status != 503 { // probes have none
		t.Error("no X-Request-Id")
	}
	for _, name := range []string{"Server", "Set-Cookie", "X-Ratelimit-Remaining-Requests", "Openai-Organization", "Date", "Cf-Ray"} {
		if v := a.header.Get(name); v != "" && (name != "X-Ratelimit-Remaining-Requests" || a.header.Get("X-Ratelimit-Limit-Requests") == "") { // the gateway's own come together
			t.Errorf("the answer has %s: %s", name, v)
		}
	}
	got := a.body
	if a.cut {
		got += "@cut\n"
	}
	if m.crlf {
		got = strings.ReplaceAll(got, "\r\n", "\n")
	}
	if !hasBody || got == body {
		return
	}
	if pattern, ok := strings.CutPrefix(body, "~"); ok {
		if regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(got) {
			return
		}
	}
	t.Errorf("body\n%s\nwant\n%s", got, body)
}

func checkHeaders(t testing.TB, where string, header map[string][]string, fields []string) {
	t.Helper()
	for _, field := range fields {
		name, want, _ := strings.Cut(field, ":")
		want = strings.TrimSpace(want)
		absent := strings.HasPrefix(name, "!")
		got, there := header[strings.TrimPrefix(name, "!")]
		pattern, isPattern := strings.CutPrefix(want, "~")
		switch {
		case absent && there:
			t.Errorf("%s has %s: %s", where, name, got)
		case absent:
		case len(got) == 0:
			t.Errorf("%s has no %s", where, name)
		case isPattern && !regexp.MustCompile(pattern).MatchString(strings.Join(got, " | ")), !isPattern && strings.Join(got, " | ") != want:
			t.Errorf("%s has %s: %s, want %s", where, name, got, want)
		}
	}
}

func checkSaw(t testing.TB, saw []sighting, wants []string, replies int) {
	t.Helper()
	if len(saw) != max(len(wants), replies) {
		t.Errorf("the upstream saw %d requests, want %d", len(saw), max(len(wants), replies))
	}
	for i, want := range wants[:min(len(wants), len(saw))] {
		head, body, hasBody := strings.Cut(want, "\n\n")
		lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
		if saw[i].line != lines[0] {
			t.Errorf("the upstream saw %s, want %s", saw[i].line, lines[0])
		}
		checkHeaders(t, "the upstream's request", saw[i].header, lines[1:])
		body = strings.TrimSuffix(body, "\n")
		if strings.HasPrefix(saw[i].header.Get("Content-Type"), "multipart/") {
			body = strings.ReplaceAll(body, "\n", "\r\n")
		}
		if hasBody && saw[i].body != body {
			t.Errorf("the upstream saw the body\n%s\nwant\n%s", saw[i].body, body)
		}
	}
	for _, s := range saw {
		for name, values := range s.header {
			keepsSecrets(t, "the upstream's "+name, strings.Join(values, " "), tenantKey)
		}
	}
}

func checkAccess(t *testing.T, c claim, line gjson.Result) {
	t.Helper()
	for _, want := range strings.Fields(c.want) {
		name, value, _ := strings.Cut(want, "=")
		got := line.Get(strings.TrimPrefix(name, "!"))
		if strings.HasPrefix(name, "!") && got.Exists() ||
			!strings.HasPrefix(name, "!") && got.String() != value && got.Raw != value {
			t.Errorf("%s: the access line has %s %q, want %q: %s", c.scene, name, got.Raw, value, line.Raw)
		}
	}
}

func (s *stage) checkMetrics(t testing.TB, before map[string]float64, want string) {
	t.Helper()
	wants := map[string]float64{}
	for line := range strings.Lines(strings.TrimSpace(want)) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		wants[line[:at]], _ = strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
	}
	var grown map[string]float64
	eventually(t, "nothing in flight", func() bool {
		grown = s.metrics()
		return grown["jarvis_requests_in_flight"] == 0
	})
	for series, by := range wants {
		if got := grown[series] - before[series]; got != by {
			t.Errorf("%s grew by %v, want %v", series, got, by)
		}
	}
}
