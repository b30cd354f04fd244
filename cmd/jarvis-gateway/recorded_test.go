package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/wire"
)

// Recorded traffic of OpenAI and Azure lies beside the repository; a clone alone does without.
func recordedData(t *testing.T) string {
	shared := os.Getenv("JARVIS_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	dir := filepath.Join(shared, "data")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no recorded traffic: %v (JARVIS_SHARED names the folder that holds data/)", err)
	}
	return dir
}

// recorded are all exchanges of the calls that the gateway offers.
func recorded(t *testing.T) []fakellm.Exchange {
	dir := recordedData(t)
	var all []fakellm.Exchange
	for _, source := range []struct {
		load func(string) ([]fakellm.Exchange, error)
		dir  string
	}{
		{fakellm.LoadCassettes, "openai-cassettes"}, {fakellm.LoadSSE, "openai-sse"},
		{fakellm.LoadFixtures, "provider-fixtures/openai"}, {fakellm.LoadFixtures, "provider-fixtures/azure"},
	} {
		list, err := source.load(filepath.Join(dir, source.dir))
		if err != nil || len(list) == 0 {
			t.Fatalf("%s: %d exchanges, %v", source.dir, len(list), err)
		}
		for _, ex := range list {
			ex.Name = filepath.Base(source.dir) + "/" + ex.Name
			if ex.Path = offered.FindString(ex.Path); ex.Path != "" && ex.Method != http.MethodGet {
				all = append(all, mended(ex))
			}
		}
	}
	return all
}

// offered is the part of a recorded path that names a call of ours; Azure's has a deployment in front.
var offered = regexp.MustCompile(`/(chat/completions|completions|embeddings|responses|moderations|images/(generations|edits)|audio/(transcriptions|translations|speech))$|/(chat/completions|embeddings)\b`)

// mended corrects a recording of chat that lies among those of the Responses API.
func mended(ex fakellm.Exchange) fakellm.Exchange {
	if ex.Stream && ex.Path == "/responses" && bytes.Contains(ex.Body, []byte(`"chat.completion.chunk"`)) {
		ex.Path = "/chat/completions"
		if !bytes.Contains(ex.Body, []byte("[DONE]")) {
			ex.Body = append(bytes.Clone(ex.Body), "data: [DONE]\n\n"...)
		}
	}
	return ex
}

const replayConfig = `
providers: {rec: {kind: openai, base_url: "%s/v1", api_key: sk-upstream-0123456789}}
models: {"*": {targets: [{provider: rec}]}}
tenants: {acme: {keys: [{name: a, key: %s}]}}
`

// smallEnough bounds what is sent byte by byte over sockets; longer streams go byte by byte through the relay alone, in
// the provider's tests.
const smallEnough = 12 << 10

func TestRecordedTraffic(t *testing.T) {
	all := recorded(t)
	var plan atomic.Pointer[fakellm.Plan]
	up, err := fakellm.Start(fakellm.Options{Lenient: true, LogBodies: true, Plan: func(*fakellm.Seen) fakellm.Plan { return *plan.Load() }})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	g := start(t, fmt.Sprintf(replayConfig, up.URL(), tenantKey))
	played := 0
	var lines []func() // looked at in the end: they are written with a delay
	for i, ex := range all {
		for _, bytewise := range []bool{false, true} {
			if bytewise && len(ex.Body) > smallEnough {
				continue
			}
			p := fakellm.Replay(ex)
			p.ByteAtATime = bytewise
			plan.Store(&p)
			up.Reset()
			id := fmt.Sprintf("rec-%d-%t", i, bytewise)
			got := g.ask(t, requestFor(ex, id))
			where := fmt.Sprintf("%s, byte by byte: %t", ex.Name, bytewise)
			compareRecorded(t, where, ex, got)
			if got.status == 200 {
				lines = append(lines, func() { compareUsage(t, where, ex, g.access(id)) })
			}
			for _, seen := range up.Seen() {
				if complaints := strings.Join(seen.Violations, "; "); strings.Contains(complaints, "header") {
					t.Errorf("%s: the provider complains: %s", where, complaints)
				}
			}
			played++
		}
	}
	for _, check := range lines {
		check()
	}
	t.Logf("%d recorded exchanges of %d recordings came through whole and byte by byte", played, len(all))
}

// requestFor is the recorded request, or a small one where none was recorded.
func requestFor(ex fakellm.Exchange, id string) string {
	head := "POST /v1" + ex.Path + "\nX-Request-Id: " + id + "\n"
	if gjson.ValidBytes(ex.RequestBody) && gjson.GetBytes(ex.RequestBody, "model").Exists() {
		return head + "\n" + string(ex.RequestBody)
	}
	if strings.HasPrefix(ex.Path, "/audio/t") || ex.Path == "/images/edits" {
		return head + "Content-Type: multipart/form-data; boundary=b\n\n--b\nContent-Disposition: form-data; name=\"model\"\n\nwhisper-1\n--b--\n"
	}
	return fmt.Sprintf(`%s
{"model":"m","stream":%t,"messages":[{"role":"user","content":"hi"}],"input":"hi","prompt":"hi"}`, head, ex.Stream)
}

func compareRecorded(t *testing.T, where string, ex fakellm.Exchange, got answer) {
	t.Helper()
	switch {
	case got.cut:
		t.Errorf("%s: the answer is cut", where)
	case ex.Stream && failsAtOnce(ex):
		if got.status < 400 || !gjson.Get(got.body, "error.message").Exists() {
			t.Errorf("%s: a stream that begins with an error gave %d %.200s", where, got.status, got.body)
		}
	case ex.Stream:
		if got.status != 200 {
			t.Errorf("%s: %d %.300s", where, got.status, got.body)
			return
		}
		want, have := payloads(ex, ex.Body, true), payloads(ex, []byte(got.body), false)
		if !reflect.DeepEqual(want, have) {
			t.Errorf("%s: %d events, want %d; first difference: %s", where, len(have), len(want), firstDifference(have, want))
		}
	case ex.Status == 429: // the account that ran dry is the gateway's own: its client is only asked to wait
		if got.status != 429 || errorCode(got) != "upstream_rate_limited" {
			t.Errorf("%s: %d %s", where, got.status, got.body)
		}
	case ex.Status >= 400:
		if got.status != ex.Status || !sameJSON([]byte(got.body), ex.Body) {
			t.Errorf("%s: %d %s, want %d %s", where, got.status, got.body, ex.Status, ex.Body)
		}
	default:
		if got.status != ex.Status || got.body != string(ex.Body) {
			t.Errorf("%s: %d %.300s, want %d %.300s", where, got.status, got.body, ex.Status, ex.Body)
		}
	}
}

// failsAtOnce tells a recorded stream whose first event that matters is an error.
func failsAtOnce(ex fakellm.Exchange) bool {
	kind := wire.Chat
	if ex.Path == "/responses" {
		kind = wire.Response
	}
	for _, data := range payloads(ex, ex.Body, false) {
		switch kind.Classify([]byte(data)) {
		case wire.Failure:
			return true
		case wire.Content, wire.Last:
			return false
		}
	}
	return false
}

// payloads are the data of a stream's events. The chunk that only reports usage is left out where the gateway owns it:
// its client did not ask.
func payloads(ex fakellm.Exchange, stream []byte, dropUsage bool) []string {
	asked := gjson.GetBytes(ex.RequestBody, "stream_options.include_usage").Bool()
	var list []string
	for len(stream) > 0 {
		end, _ := wire.EventEnd(stream, 0)
		if end == 0 {
			end = len(stream)
		}
		data := wire.EventData(stream[:end])
		stream = stream[end:]
		choices := gjson.GetBytes(data, "choices")
		if data == nil || dropUsage && !asked && choices.IsArray() && len(choices.Array()) == 0 && gjson.GetBytes(data, "usage").IsObject() {
			continue
		}
		list = append(list, string(data))
	}
	return list
}

func firstDifference(have, want []string) string {
	for i := range max(len(have), len(want)) {
		var h, w string
		if i < len(have) {
			h = have[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if h != w {
			return fmt.Sprintf("event %d is %.300q, want %.300q", i, h, w)
		}
	}
	return "none"
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func compareUsage(t *testing.T, where string, ex fakellm.Exchange, line gjson.Result) {
	t.Helper()
	if ex.Usage == (fakellm.Usage{}) {
		return
	}
	have := fakellm.Usage{Prompt: int(line.Get("prompt_tokens").Int()), Completion: int(line.Get("completion_tokens").Int()),
		Cached: int(line.Get("cached_tokens").Int()), Reasoning: int(line.Get("reasoning_tokens").Int())}
	want := fakellm.Usage{Prompt: ex.Usage.Prompt, Completion: ex.Usage.Completion, Cached: ex.Usage.Cached, Reasoning: ex.Usage.Reasoning}
	if have != want {
		t.Errorf("%s: usage %+v, want %+v", where, have, want)
	}
}

// Every request that goes upstream is one that OpenAI's own description allows, if the client's was.
func TestUpstreamRequestsFitTheDescription(t *testing.T) {
	all := recorded(t)
	describes := description(t)
	up, err := fakellm.Start(fakellm.Options{Lenient: true, LogBodies: true})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	g := start(t, fmt.Sprintf(replayConfig, up.URL(), tenantKey))
	checked := 0
	for i, ex := range all {
		if ex.Status != 200 || !gjson.ValidBytes(ex.RequestBody) || !gjson.GetBytes(ex.RequestBody, "model").Exists() {
			continue
		}
		schema := describes(ex.Path)
		if schema.Validate(decoded(t, ex.RequestBody)) != nil {
			continue // a client's liberty, which is the provider's to judge
		}
		up.Reset()
		g.ask(t, requestFor(ex, fmt.Sprintf("fit-%d", i)))
		for _, seen := range up.Seen() {
			if err := schema.Validate(decoded(t, seen.Body)); err != nil {
				t.Errorf("%s: %s: %v", ex.Name, seen.Body, err)
			}
			checked++
		}
	}
	if checked < 20 {
		t.Errorf("only %d requests were checked", checked)
	}
	t.Logf("%d requests sent upstream validate against OpenAI's description", checked)
}

func decoded(t *testing.T, raw []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}

// description gives the schema of a call's request body.
func description(t *testing.T) func(path string) *jsonschema.Schema {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(recordedData(t), "openai-openapi", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("openapi.json", decoded(t, raw)); err != nil {
		t.Fatal(err)
	}
	return func(path string) *jsonschema.Schema {
		t.Helper()
		at := "openapi.json#/paths/" + strings.ReplaceAll(path, "/", "~1") + "/post/requestBody/content/application~1json/schema"
		schema, err := compiler.Compile(at)
		if err != nil {
			t.Fatal(err)
		}
		return schema
	}
}
