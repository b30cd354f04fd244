package acceptance

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

// recording is a provider's recorded answer: what a client asks to get it, and what it must read.
type recording struct {
	Name     string            `json:"name"`
	Model    string            `json:"model"`    // that clients ask for
	Endpoint string            `json:"endpoint"` // such as chat/completions
	Stream   bool              `json:"stream"`
	Status   int               `json:"status"`
	Request  json.RawMessage   `json:"request,omitempty"` // none: a form, which the client makes
	Body     json.RawMessage   `json:"body,omitempty"`
	Events   []json.RawMessage `json:"events,omitempty"`
	Final    *final            `json:"final,omitempty"`
	Coherent bool              `json:"coherent"` // a stream that tells of one response; some were put together of several
	Plain    bool              `json:"plain"`    // nothing but text and calls of functions, which all clients know
	Told     *told             `json:"told,omitempty"`

	provider string
	answer   fakellm.Exchange
}

// sharedData is the folder of recorded traffic, which is no part of the repository.
func sharedData(t *testing.T) string {
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

// recordings reads all that was recorded from OpenAI and Azure.
func recordings(t *testing.T) []*recording {
	dir := sharedData(t)
	var all []*recording
	for _, load := range []struct {
		from   func(string) ([]fakellm.Exchange, error)
		dir    string
		prefix string
	}{
		{fakellm.LoadCassettes, "openai-cassettes", ""},
		{fakellm.LoadSSE, "openai-sse", "sse-"},
		{fakellm.LoadFixtures, "provider-fixtures/openai", "openai/"},
		{fakellm.LoadFixtures, "provider-fixtures/azure", "azure/"},
	} {
		answers, err := load.from(filepath.Join(dir, filepath.FromSlash(load.dir)))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			a.Name = load.prefix + a.Name
			if r := newRecording(a); r != nil {
				all = append(all, r)
			}
		}
	}
	return all
}

func newRecording(a fakellm.Exchange) *recording {
	r := &recording{Name: strings.TrimPrefix(a.Name, "openai/"), Stream: a.Stream, Status: a.Status}
	if strings.HasPrefix(r.Name, "skills/") || strings.HasPrefix(r.Name, "speech-translation/") {
		return nil // other APIs
	}
	if hash, ok := strings.CutPrefix(r.Name, "sse-"); ok {
		r.Name = "sse-" + hash[:8]
	}
	r.route(&a)
	if a.Stream {
		r.Name += ".stream"
		if r.Events = eventsOf(a.Body); r.Events == nil {
			return nil
		}
	} else {
		r.Body = a.Body
	}
	r.Model = strings.NewReplacer("/", "-", " ", "-").Replace(r.Name)
	r.Request = request(r, a.RequestBody)
	if r.Status < 400 {
		r.Final = finalOf(r)
		r.Coherent = coherent(r)
		r.Plain = plain(r)
	}
	r.answer = a
	return r
}

// route finds the endpoint, and the provider that answers: the one that was recorded.
func (r *recording) route(a *fakellm.Exchange) {
	path, query, _ := strings.Cut(a.Path, "?")
	r.provider = "openai"
	switch {
	case strings.HasPrefix(r.Name, "azure/") && bytes.Contains(a.Body, []byte(`"chat.completion`)):
		// A model of the v1 API whose fixture was not recorded from the Responses API as its neighbours were.
		r.provider, r.Endpoint = "azure-v1", "chat/completions"
		if a.Stream && !bytes.Contains(a.Body, []byte("[DONE]")) {
			a.Body = append(bytes.Clone(a.Body), "data: [DONE]\n\n"...)
		}
	case strings.Contains(path, "/deployments/") || query != "" || strings.Contains(r.Name, "azure-model-router"):
		r.provider = "azure"
	case strings.HasPrefix(path, "/openai/v1/"):
		r.provider = "azure-v1"
	}
	if r.Endpoint == "" {
		for _, root := range []string{"/openai/v1/", "/openai/deployments/", "/v1/"} {
			if rest, ok := strings.CutPrefix(path, root); ok {
				if root == "/openai/deployments/" {
					_, rest, _ = strings.Cut(rest, "/")
				}
				r.Endpoint = rest
				break
			}
		}
	}
}

// eventsOf are the data of a stream's events, without the end mark. A stream that is not JSON throughout has none: no
// client could read it.
func eventsOf(stream []byte) (all []json.RawMessage) {
	for line := range bytes.Lines(stream) {
		data, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("data: "))
		switch {
		case !ok || string(data) == "[DONE]":
		case !gjson.ValidBytes(data):
			return nil
		default:
			all = append(all, data)
		}
	}
	return all
}

// request is the recorded request, or one that could have led to the answer, for the model that clients know.
func request(r *recording, recorded []byte) json.RawMessage {
	body := decode(recorded)
	if body == nil {
		const ask = "Please say what was recorded."
		switch r.Endpoint {
		case "chat/completions":
			body = object{"messages": []any{object{"role": "user", "content": ask}}}
		case "completions", "images/generations":
			body = object{"prompt": ask}
		case "embeddings":
			body = object{"input": ask, "encoding_format": "float"}
		case "responses":
			body = object{"input": ask}
		default:
			return nil
		}
		if r.Stream {
			body["stream"] = true
		}
		if r.Stream && r.Endpoint != "responses" && reportsUsage(r.Events) {
			body["stream_options"] = object{"include_usage": true}
		}
	}
	body["model"] = r.Model
	return encode(body)
}

type object = map[string]any

// decode is nil where there is nothing.
func decode(raw []byte) (doc object) {
	if len(raw) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		panic("BUG: a recorded request is not JSON: " + err.Error())
	}
	return doc
}

func encode(doc any) json.RawMessage {
	raw, err := json.Marshal(doc)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return raw
}

// reportsUsage tells whether the stream ends with the event that include_usage asks for.
func reportsUsage(events []json.RawMessage) bool {
	if len(events) == 0 {
		return false
	}
	last := gjson.ParseBytes(events[len(events)-1])
	return last.Get("usage").IsObject() && last.Get("choices.#").Int() == 0
}

// plain tells answers that every client can read: no tools of the provider's own, and one answer after the other.
func plain(r *recording) bool {
	switch r.Endpoint {
	case "chat/completions":
		return len(r.Final.Choices) == 1 && !bytes.Contains(r.Body, []byte(`"audio": {`))
	case "responses":
		for _, item := range r.Final.response.Get("output").Array() {
			if kind := item.Get("type").Str; kind != "message" && kind != "function_call" && kind != "reasoning" {
				return false
			}
		}
		return r.Final.Finish == "completed" && r.Coherent
	}
	return false
}

// coherent tells whether the events of a stream agree with the response at its end.
func coherent(r *recording) bool {
	if r.Endpoint != "responses" || !r.Stream {
		return true
	}
	text, ends := "", 0
	for _, raw := range r.Events {
		event := gjson.ParseBytes(raw)
		switch event.Get("type").Str {
		case "response.output_text.delta":
			text += event.Get("delta").Str
		case "response.completed":
			ends++
		}
		if response := event.Get("response.id"); response.Exists() && response.Str != r.Final.ID {
			return false
		}
	}
	return ends == 1 && text == r.Final.Text
}
