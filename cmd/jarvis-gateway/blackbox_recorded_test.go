package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/wire"
)

// The recorded traffic of OpenAI and Azure goes through the gateway and comes out as it was.

const recordedConfig = `
providers:
  openai: {kind: openai, base_url: "http://${UPSTREAM}/v1", api_key: "${UPSTREAM_KEY}"}
  azure: {kind: azure, base_url: "http://${UPSTREAM}", api_key: "${UPSTREAM_KEY}", api_version: 2024-10-21}
  azure-v1: {kind: azure, base_url: "http://${UPSTREAM}/openai/v1", api_key: "${UPSTREAM_KEY}"}
models:
  from-openai: {targets: [{provider: openai, model: gpt-4o}]}
  from-azure: {targets: [{provider: azure, model: gpt-4o}]}
  from-azure-v1: {targets: [{provider: azure-v1, model: gpt-4o}]}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}]}
`

// sharedData is the folder of recorded traffic, which is no part of the repository.
func sharedData(t *testing.T) string {
	t.Helper()
	shared := os.Getenv("JARVIS_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	dir := filepath.Join(shared, "data")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no recorded traffic to replay: %v (JARVIS_SHARED names the folder that has it)", err)
	}
	return dir
}

// recording is an answer of a provider and the request that led to it.
type recording struct {
	fakellm.Exchange
	model, endpoint string
	request         string // raw
	json            []byte // its body, if that is JSON
	countsAsked     bool   // it asks for the usage chunk
}

func recordings(t *testing.T) (all []*recording) {
	t.Helper()
	dir := sharedData(t)
	for _, load := range []struct {
		from func(string) ([]fakellm.Exchange, error)
		dir  string
	}{
		{fakellm.LoadSSE, "openai-sse"},
		{fakellm.LoadCassettes, "openai-cassettes"},
		{fakellm.LoadFixtures, "provider-fixtures/openai"},
		{fakellm.LoadFixtures, "provider-fixtures/azure"},
	} {
		list, err := load.from(filepath.Join(dir, filepath.FromSlash(load.dir)))
		if err != nil {
			t.Fatal(err)
		}
		for _, ex := range list {
			if strings.HasPrefix(ex.Name, "skills/") || strings.HasPrefix(ex.Name, "speech-translation/") {
				continue // other APIs
			}
			ex.Name = filepath.Base(load.dir) + "/" + ex.Name
			if ex.Stream {
				ex.Name += ".stream"
			}
			all = append(all, newRecordings(t, ex)...)
		}
	}
	return all
}

// newRecordings gives an exchange a request: its own, or where that was not recorded one that could have led to the answer.
// A stream that ends with a usage chunk is asked for with and without that.
func newRecordings(t *testing.T, ex fakellm.Exchange) []*recording {
	t.Helper()
	r := &recording{Exchange: ex, model: "from-openai"}
	path, _, _ := strings.Cut(ex.Path, "?")
	for _, root := range []struct{ prefix, model string }{{"/openai/deployments/", "from-azure"}, {"/openai/v1/", "from-azure-v1"}, {"/v1/", "from-openai"}} {
		if rest, ok := strings.CutPrefix(path, root.prefix); ok {
			r.endpoint, r.model = rest, root.model
			break
		}
	}
	if r.model == "from-azure" {
		_, r.endpoint, _ = strings.Cut(r.endpoint, "/")
	}
	if bytes.Contains(ex.Body, []byte(`"chat.completion`)) {
		r.endpoint = "chat/completions" // some fixtures of Azure's are filed with those of its Responses API
	}
	if ex.RequestBody != nil || !isForm[r.endpoint] {
		r.json = ex.RequestBody
		if r.json == nil {
			r.json = fmt.Appendf(nil, `{"model":"m",%s}`, usualFields[r.endpoint])
			if ex.Stream {
				r.json = append(r.json[:len(r.json)-1], `,"stream":true}`...)
			}
		}
		return r.variants(t)
	}
	form := fmt.Sprintf("--edge\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n%s\r\n--edge\r\n"+
		"Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nbytes\r\n--edge--\r\n", r.model)
	r.request = rawPost(r.endpoint, "multipart/form-data; boundary=edge", form)
	return []*recording{r}
}

var (
	isForm      = map[string]bool{"audio/transcriptions": true, "audio/translations": true, "images/edits": true}
	usualFields = map[string]string{
		"chat/completions":   `"messages":[{"content":"confidential","role":"user"}]`,
		"completions":        `"prompt":"confidential"`,
		"embeddings":         `"input":"confidential"`,
		"images/generations": `"prompt":"confidential"`,
		"responses":          `"input":"confidential"`,
	}
)

func (r *recording) variants(t *testing.T) []*recording {
	t.Helper()
	body, err := wire.Parse(r.json)
	if err == nil {
		body, err = body.Set("model", r.model)
	}
	if err != nil {
		t.Fatalf("%s: %v", r.Name, err)
	}
	variants := []*recording{r}
	if r.Stream && r.RequestBody == nil && (r.endpoint == "chat/completions" || r.endpoint == "completions") {
		asked := *r
		with, err := body.Set("stream_options.include_usage", true)
		if err != nil {
			t.Fatal(err)
		}
		asked.json, asked.countsAsked = with.Raw(), true
		asked.Name += " with usage"
		variants = append(variants, &asked)
	}
	r.json, r.countsAsked = body.Raw(), body.IncludeUsage()
	for _, v := range variants {
		v.request = rawPost(v.endpoint, "application/json", string(v.json))
	}
	return variants
}

func rawPost(endpoint, kind, body string) string {
	return fmt.Sprintf("POST /v1/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		endpoint, tenantKey, kind, len(body), body)
}

// reply is the recording as it goes over the wire.
func (r *recording) reply() string {
	head := fmt.Sprintf("HTTP/1.1 %d Whatever\r\nContent-Type: %s\r\n", r.Status, r.ContentType)
	if r.Stream {
		return fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(r.Body), r.Body)
	}
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(r.Body), r.Body)
}

// events are a stream's, as they are, without the usage chunk unless that was asked for.
func (r *recording) events() (events []string) {
	for ev := range strings.SplitAfterSeq(strings.ReplaceAll(string(r.Body), "\r\n", "\n"), "\n\n") {
		data := gjson.ParseBytes(wire.EventData([]byte(ev)))
		counts := data.Get("choices").IsArray() && data.Get("choices.#").Int() == 0 && data.Get("usage").IsObject()
		if ev != "" && (r.countsAsked || !counts) {
			events = append(events, ev)
		}
	}
	return events
}

func TestRecordings(t *testing.T) {
	all := recordings(t)
	g, u := withUpstream(t, recordedConfig)
	check := newRequestCheck(t)
	type settled struct {
		r  *recording
		id string
	}
	var lines []settled
	streams := 0
	for _, r := range all {
		t.Run(r.Name, func(t *testing.T) {
			for _, m := range []manner{{name: "whole"}, {name: "bytewise", bytewise: true}} {
				u.scriptIn(m, r.reply())
				c := g.dial(t)
				a := c.do(r.request)
				c.Close()
				r.check(t, m, a)
				if saw := u.sightings(); len(saw) != 1 {
					t.Fatalf("%d requests upstream", len(saw))
				} else if r.json != nil {
					check.request(t, r, saw[0].body)
				}
				lines = append(lines, settled{r, a.header.Get("X-Request-Id")})
			}
		})
		if r.Stream {
			streams++
		}
	}
	for _, s := range lines {
		s.r.checkUsage(t, g.access(s.id))
	}
	t.Logf("replayed %d recorded exchanges, %d of them streams, whole and byte by byte; %d requests upstream valid, %d invalid as their clients sent them",
		len(all), streams, check.valid, check.invalid)
	if len(all) < 160 || streams < 75 || check.valid < 280 {
		t.Error("some of the recorded traffic is missing")
	}
}

func (r *recording) check(t *testing.T, m manner, a answer) {
	t.Helper()
	switch {
	case r.Status >= 400 && r.Status != 429:
		if a.status != r.Status || gjson.Get(a.body, "error").Raw != gjson.GetBytes(r.Body, "error").Raw {
			t.Errorf("%s: %v", m.name, a)
		}
	case r.Status == 429 || r.fails():
		if a.status != 429 || errorCode(a) != "upstream_rate_limited" {
			t.Errorf("%s: %v", m.name, a)
		}
	case r.Stream:
		want := strings.Join(r.events(), "")
		if a.status != 200 || a.cut || strings.ReplaceAll(a.body, "\r\n", "\n") != want {
			t.Errorf("%s: status %d, cut %t, body\n%s\nwant\n%s", m.name, a.status, a.cut, a.body, want)
		}
	case a.status != r.Status || a.body != string(r.Body) || a.header.Get("Content-Type") != r.ContentType:
		t.Errorf("%s: %v\nwant %s", m.name, a, r.Body)
	}
}

// fails tells a stream that is over before it has begun.
func (r *recording) fails() bool {
	return r.Stream && bytes.Contains(r.Body, []byte("event: error\n"))
}

func (r *recording) checkUsage(t *testing.T, line gjson.Result) {
	t.Helper()
	got := [4]int64{line.Get("prompt_tokens").Int(), line.Get("completion_tokens").Int(), line.Get("cached_tokens").Int(), line.Get("reasoning_tokens").Int()}
	want := [4]int64{int64(r.Usage.Prompt), int64(r.Usage.Completion), int64(r.Usage.Cached), int64(r.Usage.Reasoning)}
	if r.Usage == (fakellm.Usage{}) && r.Stream && !strings.Contains(line.Raw, `"estimated":true`) {
		for _, ev := range r.events() {
			if data := wire.EventData([]byte(ev)); !gjson.ValidBytes(data) && !wire.IsDone(data) {
				return // one fixture's last event has a brace too few: whether it says what it cost is a matter of taste
			}
		}
	}
	if estimated := line.Get("estimated").Bool(); !estimated && got != want || estimated && r.Usage.Total > 0 {
		t.Errorf("%s: usage %v, want %v: %s", r.Name, got, want, line.Raw)
	}
}
