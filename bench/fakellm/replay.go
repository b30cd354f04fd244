package fakellm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidwall/gjson"
	"gopkg.in/yaml.v3"
)

// Exchange is a recorded answer of a real provider, with its request where that was recorded too.
type Exchange struct {
	Name        string // file name without its ending, below the loaded folder
	Method      string
	Path        string // with the query, as the provider was asked
	RequestBody []byte // nil when not recorded
	Status      int
	ContentType string
	Body        []byte   // the answer; of a stream all its bytes
	Payloads    [][]byte // of a stream the data of its events, where they were recorded one by one
	Stream      bool
	Usage       Usage // what the answer itself says it cost; zero when it says nothing
}

// Replay is the plan that answers with a recording, and bills what it says.
func Replay(ex Exchange) Plan {
	p := Plan{Status: ex.Status, Header: map[string]string{"Content-Type": ex.ContentType}}
	if ex.Stream {
		p.SSE = ex.Body
	} else {
		p.Body = ex.Body
	}
	return p
}

// cassette is a go-vcr v4 recording.
type cassette struct {
	Interactions []struct {
		Request struct {
			Method  string
			URL     string
			Body    string
			Form    url.Values
			Headers map[string][]string
		}
		Response struct {
			Code    int
			Body    string
			Headers map[string][]string
		}
	}
}

// LoadCassettes reads the go-vcr recordings (*.yaml) in dir.
func LoadCassettes(dir string) ([]Exchange, error) {
	var all []Exchange
	err := eachFile(dir, ".yaml", func(name string, raw []byte) error {
		var c cassette
		if err := yaml.Unmarshal(raw, &c); err != nil {
			return err
		}
		for i, act := range c.Interactions {
			u, err := url.Parse(act.Request.URL)
			if err != nil {
				return err
			}
			if u.RawQuery == "" {
				u.RawQuery = act.Request.Form.Encode()
			}
			ex := Exchange{Name: name, Method: act.Request.Method, Path: u.RequestURI(), RequestBody: []byte(act.Request.Body),
				Status: act.Response.Code, ContentType: strings.Join(act.Response.Headers["Content-Type"], ""), Body: []byte(act.Response.Body)}
			if i > 0 {
				ex.Name = fmt.Sprintf("%s.%d", name, i+1)
			}
			if strings.HasPrefix(strings.Join(act.Request.Headers["Content-Type"], ""), "multipart/") {
				ex.RequestBody = nil // left out of the recording
			}
			ex.Stream = strings.HasPrefix(ex.ContentType, "text/event-stream")
			all = append(all, ex.measured())
		}
		return nil
	})
	return all, err
}

// LoadSSE reads recorded chat completion streams (*.bin) in dir.
func LoadSSE(dir string) ([]Exchange, error) {
	var all []Exchange
	err := eachFile(dir, ".bin", func(name string, raw []byte) error {
		ex := Exchange{Name: name, Method: "POST", Path: "/v1/chat/completions", Status: 200, ContentType: sseType, Body: raw, Stream: true}
		all = append(all, ex.measured())
		return nil
	})
	return all, err
}

// LoadFixtures reads recorded answers below dir: *.json are whole bodies, *.chunks.txt have the data of one stream event a line, from
// which Body is made as the provider sends it, events or frames. Of several streams of Anthropic's in one file it takes the first.
func LoadFixtures(dir string) ([]Exchange, error) {
	var all []Exchange
	err := eachFile(dir, ".json", func(name string, raw []byte) error {
		ex := Exchange{Name: name, Method: "POST", Path: pathOf(rooted(dir, name), false), Status: statusOf(raw), ContentType: jsonType, Body: raw}
		all = append(all, ex.measured())
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = eachFile(dir, ".chunks.txt", func(name string, raw []byte) error {
		ex := Exchange{Name: name, Method: "POST", Path: pathOf(rooted(dir, name), true), Status: 200, ContentType: sseType, Stream: true}
		if strings.HasPrefix(rooted(dir, name), "amazon-bedrock/") {
			ex.ContentType = eventStreamType
		}
		ex.Payloads = firstStream(raw)
		ex.Body = framed(rooted(dir, name), ex.Payloads)
		all = append(all, ex.measured())
		return nil
	})
	return all, err
}

// firstStream are the events in a recording up to the end of its first message. A line holds one event, or several behind each other;
// what is no JSON stays as it is.
func firstStream(raw []byte) [][]byte {
	var all [][]byte
	for line := range bytes.Lines(raw) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		for _, v := range values(line) {
			all = append(all, v)
			if gjson.GetBytes(v, "type").Str == "message_stop" {
				return all
			}
		}
	}
	return all
}

// values are the JSON values that a line is made of, or the line.
func values(line []byte) [][]byte {
	var all [][]byte
	for d := json.NewDecoder(bytes.NewReader(line)); ; {
		var v json.RawMessage
		switch err := d.Decode(&v); err {
		case nil:
			all = append(all, v)
		case io.EOF:
			return all
		default:
			return [][]byte{line}
		}
	}
}

func eachFile(dir, ending string, do func(name string, raw []byte) error) error {
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ending) {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, strings.TrimSuffix(path, ending))
		if err != nil {
			return err
		}
		n++
		if err := do(filepath.ToSlash(name), raw); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
	if err == nil && n == 0 {
		return fmt.Errorf("no *%s below %s", ending, dir)
	}
	return err
}

// rooted is name as it is below the folder of all fixtures, of which dir may be a part.
func rooted(dir, name string) string {
	full := filepath.ToSlash(filepath.Join(dir, name))
	if _, below, ok := strings.Cut(full, "provider-fixtures/"); ok {
		return below
	}
	return name
}

// pathOf is the endpoint that a fixture was recorded from.
func pathOf(name string, stream bool) string {
	provider, rest, _ := strings.Cut(name, "/")
	kind, file, _ := strings.Cut(rest, "/")
	switch {
	case provider == "azure":
		return "/openai/v1/responses"
	case provider == "anthropic" && kind != "skills":
		return "/v1/messages"
	case provider == "amazon-bedrock" && stream:
		return "/model/fake/converse-stream"
	case provider == "amazon-bedrock":
		return "/model/fake/converse"
	case kind == "image" && strings.Contains(file, "edit"):
		return "/v1/images/edits"
	}
	return "/v1/" + map[string]string{"chat": "chat/completions", "completion": "completions", "embedding": "embeddings", "image": "images/generations",
		"responses": "responses", "transcription": "audio/transcriptions", "speech-translation": "realtime", "skills": "skills"}[kind]
}

// statusOf is the status that a recorded body came with, which was not recorded: an error tells it by its code.
func statusOf(raw []byte) int {
	var body struct {
		Object string
		Error  *struct{ Code string }
	}
	switch err := json.Unmarshal(raw, &body); {
	case err != nil || body.Error == nil || body.Object != "":
		return 200
	case body.Error.Code == "insufficient_quota":
		return 429
	}
	return 400
}

// framed puts the payloads into events as the provider of that fixture does.
func framed(name string, payloads [][]byte) []byte {
	var s listed
	done := strings.HasPrefix(name, "openai/chat/") || strings.HasPrefix(name, "openai/completion/")
	for _, p := range payloads {
		kind := gjson.GetBytes(p, "type").Str
		if done {
			kind = ""
		}
		s.add(content, kind, p)
	}
	if done {
		s.add(terminal, "", []byte("[DONE]"))
	}
	if strings.HasPrefix(name, "amazon-bedrock/") {
		return framesOf(payloads)
	}
	var b []byte
	for _, e := range s.events {
		b = append(b, e.data...)
	}
	return b
}

func (ex Exchange) measured() Exchange {
	ex.Usage = recordedUsage(ex.Status, ex.Body)
	return ex
}
