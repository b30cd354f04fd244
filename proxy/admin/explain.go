package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/ragplug"
	"jarvis-gateway/router"
)

// Question is a request of which somebody wants to know what would become of it. It is not sent.
type Question struct {
	Tenant   string            `json:"tenant"` // "": the only one
	Key      string            `json:"key"`    // its name
	User     string            `json:"user"`
	Endpoint string            `json:"endpoint"` // such as chat/completions, which it is when empty
	Headers  map[string]string `json:"headers"`
	Body     json.RawMessage   `json:"body"`
}

// maxQuestion is larger than other bodies, as it has a whole request in it.
const maxQuestion = 32 << 20

// Explained is what would become of it.
type Explained struct {
	router.Explanation
	Admission policy.Preview   `json:"admission"`
	Guards    []policy.Finding `json:"guards"` // those that look at requests
	Retrieved *ragplug.Preview `json:"retrieved,omitempty"`
}

// explanation is the answer.
type explanation struct {
	Object string `json:"object"`
	Explained
}

// explainRoute tells what would become of a request, as this process sees things.
func explainRoute(c *call) error {
	raw, err := readBody(c.r, maxQuestion)
	if err != nil {
		return err
	}
	var q Question
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return misread(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return wire.Invalid("", "Something follows the body's JSON.")
	}
	if len(q.Body) == 0 {
		return wire.Invalid("body", "body: the request's own body is needed.")
	}
	e, err := c.Explain(q)
	if err != nil {
		return err
	}
	write(c.w, http.StatusOK, explanation{"route.explanation", e})
	return nil
}

// misread words what is wrong with a question.
func misread(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return wire.Invalid(wrong.Field, "%s: expected a value of another type.", wrong.Field)
	}
	return wire.Invalid("", "The body is not as it should be: %v. It has tenant, key, user, endpoint, headers and body.", err)
}
