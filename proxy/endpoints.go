package proxy

import (
	"bytes"
	"strings"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/wire"
)

// endpoint is one call of the API.
type endpoint struct {
	name    string            // in access lines
	path    string            // below the provider's root
	kind    wire.Kind         // of its answers
	form    bool              // takes multipart/form-data too
	bytes   bool              // may answer with bytes in place of JSON or events
	model   string            // what OpenAI takes when the request names none
	count   bool              // asks only for the number of tokens
	prompts bool              // its prompt costs, though no tokens are made
	needs   policy.Permission // what the caller's role must allow
	run     func(g *Gateway, x *exchange) error
}

// events tells whether a stream of this endpoint is one of events, in which an error can be told.
func (e *endpoint) events() bool { return !e.bytes }

// posts are the calls for a model, by path. https://platform.openai.com/docs/api-reference and, for messages,
// https://docs.anthropic.com/en/api/messages
var posts = byPath(
	endpoint{name: "chat", needs: policy.ChatCreate, path: "/chat/completions", kind: wire.Chat},
	endpoint{name: "completions", needs: policy.ChatCreate, path: "/completions", kind: wire.Completion},
	endpoint{name: "embeddings", prompts: true, needs: policy.ChatCreate, path: "/embeddings"},
	endpoint{name: "responses", needs: policy.ChatCreate, path: "/responses", kind: wire.Response, run: (*Gateway).createResponse},
	endpoint{name: "moderations", needs: policy.ChatCreate, path: "/moderations", model: "omni-moderation-latest"},
	endpoint{name: "images.generations", needs: policy.ChatCreate, path: "/images/generations", model: "dall-e-2"},
	endpoint{name: "images.edits", needs: policy.ChatCreate, path: "/images/edits", form: true, model: "dall-e-2"},
	endpoint{name: "images.variations", needs: policy.ChatCreate, path: "/images/variations", form: true, model: "dall-e-2"},
	endpoint{name: "audio.speech", needs: policy.ChatCreate, path: "/audio/speech", bytes: true},
	endpoint{name: "audio.transcriptions", needs: policy.ChatCreate, path: "/audio/transcriptions", form: true},
	endpoint{name: "audio.translations", needs: policy.ChatCreate, path: "/audio/translations", form: true},
	endpoint{name: "rerank", prompts: true, needs: policy.ChatCreate, path: "/rerank"},
	endpoint{name: "messages", needs: policy.ChatCreate, path: "/messages", kind: wire.Message},
	endpoint{name: "messages.count_tokens", needs: policy.ChatCreate, path: "/messages/count_tokens", kind: wire.Message, count: true},
)

// asks tells a call for a model: what was used for it, if only a refusal, is recorded.
func (e *endpoint) asks() bool { return e != nil && e.path != "" }

var (
	giveFeedback   = &endpoint{name: "feedback", needs: policy.ChatCreate, run: (*Gateway).feedback}
	listModels     = &endpoint{name: "models.list", needs: policy.ChatRead, run: (*Gateway).listModels}
	getModel       = &endpoint{name: "models.get", needs: policy.ChatRead, run: (*Gateway).getModel}
	getResponse    = &endpoint{name: "responses.get", needs: policy.ChatRead, kind: wire.Response, run: (*Gateway).storedResponse}
	deleteResponse = &endpoint{name: "responses.delete", needs: policy.ChatCreate, kind: wire.Response, run: (*Gateway).storedResponse}
	cancelResponse = &endpoint{name: "responses.cancel", needs: policy.ChatCreate, kind: wire.Response, run: (*Gateway).storedResponse}
	responseItems  = &endpoint{name: "responses.input_items", needs: policy.ChatRead, kind: wire.Response, run: (*Gateway).storedResponse}
)

func byPath(list ...endpoint) map[string]*endpoint {
	m := make(map[string]*endpoint, len(list))
	for _, e := range list {
		if e.run == nil {
			e.run = (*Gateway).run
		}
		m["/v1"+e.path] = &e
	}
	return m
}

// find looks the request's endpoint up.
func find(x *exchange) (*endpoint, error) {
	path, h := x.ctx.Path(), &x.ctx.Request.Header
	if ep := posts[string(path)]; ep != nil {
		return ep, method(h, path, fasthttp.MethodPost)
	}
	if rest, ok := bytes.CutPrefix(path, []byte("/v1/models")); ok {
		switch {
		case len(rest) == 0:
			return listModels, method(h, path, fasthttp.MethodGet)
		case rest[0] == '/' && len(rest) > 1:
			return getModel, method(h, path, fasthttp.MethodGet)
		}
	}
	switch string(path) {
	case "/v1/usage":
		return getUsage, method(h, path, fasthttp.MethodGet)
	case "/v1/feedback":
		return giveFeedback, method(h, path, fasthttp.MethodPost)
	}
	if rest, ok := bytes.CutPrefix(path, []byte("/v1/responses/")); ok {
		return findStored(h, path, rest)
	}
	return nil, &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "unknown_url",
		Message: "Unknown request URL: " + string(h.Method()) + " " + shorten(string(path)) + ". The API lives under /v1."}
}

func findStored(h *fasthttp.RequestHeader, path, rest []byte) (*endpoint, error) {
	id, verb, sub := bytes.Cut(rest, []byte{'/'})
	_ = id
	switch {
	case !sub && h.IsDelete():
		return deleteResponse, nil
	case !sub:
		return getResponse, method(h, path, fasthttp.MethodGet)
	case string(verb) == "cancel":
		return cancelResponse, method(h, path, fasthttp.MethodPost)
	case string(verb) == "input_items":
		return responseItems, method(h, path, fasthttp.MethodGet)
	}
	return nil, &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "unknown_url", Message: "Unknown request URL: " + shorten(string(path)) + "."}
}

func method(h *fasthttp.RequestHeader, path []byte, want string) error {
	if string(h.Method()) == want {
		return nil
	}
	return &wire.Error{Status: 405, Type: wire.TypeInvalid, Code: "method_not_supported",
		Message: "Not allowed to " + strings.ToUpper(string(h.Method())) + " on " + shorten(string(path)) + "; use " + want + "."}
}
