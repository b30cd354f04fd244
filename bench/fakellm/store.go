package fakellm

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"sync"

	"github.com/tidwall/gjson"
)

// store remembers responses of the Responses API by id.
type store struct {
	mu   sync.Mutex
	byID map[string]*stored
	made map[string]int // ids given out, so that a repeated request gets another one
}

// stored is a response that can be asked for again. A background response shows its steps first, one each time it is asked for.
type stored struct {
	id     string
	body   []byte
	steps  [][]byte
	events []event
	items  []byte
	calls  []string
	tokens int
}

func (s *store) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID, s.made = nil, nil
}

// fresh is id the first time, and afterwards id with a number.
func (s *store) fresh(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made == nil {
		s.made = map[string]int{}
	}
	s.made[id]++
	if n := s.made[id]; n > 1 {
		return id + "x" + strconv.Itoa(n)
	}
	return id
}

func (s *store) put(r *stored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = map[string]*stored{}
	}
	s.byID[r.id] = r
}

func (s *store) get(id string) (stored, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return stored{}, false
	}
	return *r, true
}

// step is the next state of a response.
func (s *store) step(id string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return nil
	}
	if len(r.steps) > 0 {
		body := r.steps[0]
		r.steps = r.steps[1:]
		return body
	}
	return r.body
}

// cancel ends a response in the background. False: it is not running any more.
func (s *store) cancel(id string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil || len(r.steps) == 0 {
		return nil, false
	}
	r.body = bytes.Replace(r.steps[0], []byte(`"status":"in_progress"`), []byte(`"status":"cancelled"`), 1)
	r.steps, r.events = nil, nil
	return r.body, true
}

func (s *store) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}

// remembered is the response of the path, or the provider's 404.
func (x *exchange) remembered() (stored, *apiError) {
	r, ok := x.s.responses.get(x.params.id)
	if !ok {
		return r, &apiError{status: 404, kind: "invalid_request_error", message: fmt.Sprintf("Response with id '%s' not found.", x.params.id)}
	}
	x.model = gjson.GetBytes(r.body, "model").Str
	return r, nil
}

func getResponse(x *exchange) (render, *apiError) {
	r, err := x.remembered()
	if err != nil {
		return nil, err
	}
	query, _ := url.ParseQuery(x.query) // what is not understood is not there
	x.stream = query.Get("stream") == "true"
	after, e := strconv.Atoi(query.Get("starting_after"))
	if e != nil {
		after = -1
	}
	return func(x *exchange) (answer, *apiError) {
		if !x.stream {
			return answer{ctype: jsonType, body: x.s.responses.step(r.id)}, nil
		}
		return answer{ctype: sseType, script: &again{events: r.events[min(after+1, len(r.events)):]}, parts: len(r.events)}, nil
	}, nil
}

// again is a script of events that were paid for before.
type again struct{ events []event }

func (s *again) next(dst []byte) ([]byte, part) {
	if len(s.events) == 0 {
		return dst, end
	}
	e := s.events[0]
	s.events = s.events[1:]
	return append(dst, e.data...), frame
}

func deleteResponse(x *exchange) (render, *apiError) {
	r, err := x.remembered()
	return func(x *exchange) (answer, *apiError) {
		x.s.responses.remove(r.id)
		return answer{ctype: jsonType, body: fmt.Appendf(nil, `{"id":"%s","object":"response","deleted":true}`, r.id)}, nil
	}, err
}

func cancelResponse(x *exchange) (render, *apiError) {
	r, err := x.remembered()
	return func(x *exchange) (answer, *apiError) {
		body, ok := x.s.responses.cancel(r.id)
		if !ok {
			return answer{}, invalid("", "", "Cannot cancel a completed response.")
		}
		return answer{ctype: jsonType, body: body}, nil
	}, err
}

func listItems(x *exchange) (render, *apiError) {
	r, err := x.remembered()
	return func(*exchange) (answer, *apiError) {
		list := gjson.Parse("[" + string(r.items) + "]").Array()
		first, last := "", ""
		if len(list) > 0 {
			first, last = list[0].Get("id").Str, list[len(list)-1].Get("id").Str
		}
		return answer{ctype: jsonType, body: fmt.Appendf(nil, `{"object":"list","data":[%s],"first_id":"%s","last_id":"%s","has_more":false}`, r.items, first, last)}, nil
	}, err
}
