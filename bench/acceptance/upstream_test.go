package acceptance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"mime/multipart"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
)

// awsAccount signs what the gateway sends to Bedrock.
var awsAccount = fakellm.Credentials{AccessKeyID: "AKIAACCEPTANCE", SecretAccessKey: "the-secret-of-the-gateway", SessionToken: "the-session-of-the-gateway"}

// version ends the names that providers give their models: no client ever says it.
const version = "-2026-01-01"

// upstreams are the providers behind one gateway. They replay recordings by the model's name, do what a script in the
// request says, and make up other answers.
type upstreams struct {
	recorded map[string]*recording
	servers  map[string]*fakellm.Server // by the provider's name in the config
	keys     map[string]string

	mu    sync.Mutex
	turns map[string]int // requests so far for a model or a script
}

func startUpstreams(t *testing.T, all []*recording) *upstreams {
	u := &upstreams{recorded: map[string]*recording{}, servers: map[string]*fakellm.Server{}, keys: map[string]string{}, turns: map[string]int{}}
	for _, r := range all {
		u.recorded[r.Model+version] = r
	}
	for name, o := range map[string]fakellm.Options{
		"openai": {Kind: fakellm.OpenAI}, "azure": {Kind: fakellm.Azure}, "azure-v1": {Kind: fakellm.Azure}, "gpu": {Kind: fakellm.VLLM},
		"anthropic": {Kind: fakellm.Anthropic},
		"bedrock":   {Kind: fakellm.Bedrock, AWS: awsAccount, BedrockModel: filepath.Join(sharedData(t), "bedrock-model", "service-2.json")},
	} {
		u.keys[name] = "sk-of-the-gateway-for-" + name
		o.APIKey, o.LogBodies, o.Plan = u.keys[name], true, u.plan
		s, err := fakellm.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		u.servers[name] = s
	}
	return u
}

// script is what a client writes into its request to meet a failure: [[id=a&status=500&times=1]].
var script = regexp.MustCompile(`\[\[([^\]]+)\]\]`)

func scriptIn(body []byte) (url.Values, bool) {
	m := script.FindSubmatch(body)
	if m == nil {
		return nil, false
	}
	values, err := url.ParseQuery(strings.ReplaceAll(string(m[1]), `\u0026`, "&"))
	return values, err == nil
}

func (u *upstreams) plan(s *fakellm.Seen) fakellm.Plan {
	if r := u.recorded[strings.TrimSuffix(s.Model, version)+version]; r != nil {
		p := fakellm.Replay(r.answer)
		p.ByteAtATime = u.turn(s.Model)%2 == 0 && len(p.SSE) < 16<<10
		return p
	}
	if do, ok := scriptIn(s.Body); ok {
		return u.scripted(do)
	}
	if s.Endpoint == "audio/speech" {
		return fakellm.Plan{Body: noise(), Header: map[string]string{"Content-Type": "audio/mpeg"}}
	}
	return fakellm.Plan{}
}

func (u *upstreams) turn(what string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turns[what]++
	return u.turns[what]
}

// scripted fails as told, the first `times` times or always.
func (u *upstreams) scripted(do url.Values) fakellm.Plan {
	number := func(name string) int {
		n, _ := strconv.Atoi(do.Get(name)) // absent is 0
		return n
	}
	turn := u.turn(do.Get("id"))
	if times := number("times"); times > 0 && turn > times {
		return fakellm.Plan{Text: "It works now."}
	}
	p := fakellm.Plan{
		Status: number("status"), Fault: fakellm.Fault(do.Get("fault")), Tokens: number("tokens"), Header: map[string]string{},
		Text: do.Get("text"), Thinking: do.Get("thinking"), Cached: number("cached"), Written: number("written"),
		FaultAs:    number("fault_as"),
		RetryAfter: time.Duration(number("retry_after_ms")) * time.Millisecond,
		Delay:      time.Duration(number("delay_ms")) * time.Millisecond,
		EventDelay: time.Duration(number("event_delay_ms")) * time.Millisecond,
	}
	if body := do.Get("body"); body != "" {
		p.Body, p.Header["Content-Type"] = []byte(body), "application/json"
	}
	if again := do.Get("should_retry"); again != "" {
		p.Header["x-should-retry"] = again
	}
	return p
}

// noise stands for audio.
func noise() []byte {
	b := make([]byte, 100_000)
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	return b
}

// check tells everything that providers saw and must not have seen.
func (u *upstreams) check(t *testing.T) {
	for name, s := range u.servers {
		for _, seen := range s.Seen() {
			where := fmt.Sprintf("%s: %s %s, model %q", name, seen.Method, seen.Path, seen.Model)
			for _, v := range seen.Violations {
				t.Errorf("%s: the gateway sent what it must not: %s", where, v)
			}
			if seen.Get("X-Hop") != "" {
				t.Errorf("%s: a header that the client's Connection names went upstream", where)
			}
			got := seen.Get("Authorization") + seen.Get("Api-Key") + seen.Get("X-Api-Key")
			signed := name == "bedrock" && strings.HasPrefix(got, "AWS4-HMAC-SHA256 Credential="+awsAccount.AccessKeyID+"/") // which it checks
			if strings.TrimPrefix(got, "Bearer ") != u.keys[name] && !signed {
				t.Errorf("%s: got the key %q, want the gateway's own for this provider", where, got)
			}
			if seen.Model != "" && !strings.HasSuffix(seen.Model, version) {
				t.Errorf("%s: want the target's model, which ends in %s", where, version)
			}
			if bytes.Contains(seen.Body, []byte(tenantKey)) || strings.Contains(fmt.Sprint(seen.Header), tenantKey) {
				t.Errorf("%s: the client's key went upstream", where)
			}
			checkUpload(t, where, &seen)
		}
	}
}

// checkUpload reads forms as providers do: the file must be whole, the model the target's.
func checkUpload(t *testing.T, where string, seen *fakellm.Seen) {
	kind, attributes, err := mime.ParseMediaType(seen.Get("Content-Type"))
	if kind != "multipart/form-data" {
		return
	}
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	form, err := multipart.NewReader(bytes.NewReader(seen.Body), attributes["boundary"]).ReadForm(64 << 20)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	if models := form.Value["model"]; len(models) != 1 || !strings.HasSuffix(models[0], version) {
		t.Errorf("%s: the form names the models %q", where, models)
	}
	for field, files := range form.File {
		for _, file := range files {
			f, err := file.Open()
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := got.ReadFrom(f); err != nil || !bytes.Equal(got.Bytes(), noise()) {
				t.Errorf("%s: the file %s in %s has %d bytes, error %v; want the %d sent", where, file.Filename, field, got.Len(), err, len(noise()))
			}
		}
	}
}

// checkRequests wants each recorded request upstream as the client sent it, save for what is the gateway's to change:
// the model, and that streams report their usage.
func (u *upstreams) checkRequests(t *testing.T) {
	arrived := map[string][]object{}
	for _, s := range u.servers {
		for _, seen := range s.Seen() {
			if strings.HasPrefix(seen.Get("Content-Type"), "application/json") {
				arrived[seen.Model] = append(arrived[seen.Model], decode(seen.Body))
			}
		}
	}
	for model, r := range u.recorded {
		if r.Request == nil {
			continue
		}
		want := decode(r.Request)
		want["model"] = model
		if r.Stream && r.Endpoint != "responses" {
			options, _ := want["stream_options"].(object)
			if options == nil {
				options = object{}
			}
			options["include_usage"] = true
			want["stream_options"] = options
		}
		found := false
		for _, got := range arrived[model] {
			found = found || reflect.DeepEqual(got, want)
		}
		if !found {
			got, _ := json.Marshal(arrived[model])
			t.Errorf("%s: the provider never saw the recorded request.\nwant %s\ngot  %.2000s", r.Name, encode(want), got)
		}
	}
}

// scriptsSeen are the requests of each script, in order of arrival.
func (u *upstreams) scriptsSeen() map[string][]fakellm.Seen {
	by := map[string][]fakellm.Seen{}
	for _, s := range u.servers {
		for _, seen := range s.Seen() {
			if do, ok := scriptIn(seen.Body); ok {
				by[do.Get("id")] = append(by[do.Get("id")], seen)
			}
		}
	}
	return by
}
