package fakellm

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Usage counts what is billed. Cached are part of Prompt, Reasoning part of Completion, Total is their sum; all five are tokens.
type Usage struct {
	Prompt, Completion, Cached, Reasoning, Total int

	Images, Seconds, Characters int // of image, transcription and speech endpoints
}

// Field is one header field as it was on the wire.
type Field struct{ Name, Value string }

// Seen is one request as this provider saw it, and what became of it.
type Seen struct {
	Seq    int // from 1, in order of arrival
	Time   time.Time
	ConnID int // from 1; the same for requests on one kept-alive connection

	Method string
	Path   string  // path and raw query, exactly as on the wire
	Header []Field // order, case and repetitions as on the wire
	Body   []byte  // only with Options.LogBodies

	Endpoint   string // such as "chat/completions"; empty when the path is unknown
	Model      string // as sent, without a plan in it
	Stream     bool
	Violations []string // what no gateway may send: hop-by-hop or internal headers, a client's key, repeated keys in the JSON

	Billed       Usage // what the provider charges, final once Ended is set
	Status       int   // sent; 0 when no status line was
	Events       int   // stream events sent so far
	Finished     bool  // the whole answer was handed to the socket
	Ended        time.Time
	ClosedByPeer time.Time // when the peer was noticed to have hung up before the answer was whole; zero otherwise
}

// Get is the value of the first header field of that name, in any case; empty without one.
func (s *Seen) Get(name string) string {
	for _, f := range s.Header {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// MarshalJSON is for the log page: a body is text there.
func (s Seen) MarshalJSON() ([]byte, error) {
	header := make([]string, len(s.Header))
	for i, f := range s.Header {
		header[i] = f.Name + ": " + f.Value
	}
	type m map[string]any
	out := m{"seq": s.Seq, "time": s.Time, "conn": s.ConnID, "method": s.Method, "path": s.Path, "header": header, "body": string(s.Body),
		"endpoint": s.Endpoint, "model": s.Model, "stream": s.Stream, "violations": s.Violations, "status": s.Status, "events": s.Events,
		"finished": s.Finished, "prompt_tokens": s.Billed.Prompt, "completion_tokens": s.Billed.Completion}
	if !s.ClosedByPeer.IsZero() {
		out["closed_by_peer"] = s.ClosedByPeer
	}
	return json.Marshal(out)
}

// record is a Seen that still changes: events is live, the rest guarded by the journal.
type record struct {
	Seen
	events atomic.Int64
}

// journal is the log of requests. It keeps the newest keep of them.
type journal struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced on every change
	records []*record
	arrived int // since reset, also those no longer kept
	settled int
	left    chan Seen
	seq     atomic.Int64
}

const keep = 1 << 16

func (j *journal) init() {
	j.changed = make(chan struct{})
	j.left = make(chan Seen, 1024)
}

func (j *journal) add(r *record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.records) == keep {
		j.records = append(j.records[:0:0], j.records[keep/2:]...)
	}
	j.records = append(j.records, r)
	j.arrived++
	j.wake()
}

// update changes r where readers may look at it at the same time.
func (j *journal) update(r *record, change func(*Seen)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&r.Seen)
}

// settle makes the last change to r.
func (j *journal) settle(r *record, change func(*Seen)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&r.Seen)
	j.settled++
	if !r.ClosedByPeer.IsZero() {
		select {
		case j.left <- r.copy():
		default: // nobody is listening
		}
	}
	j.wake()
}

func (j *journal) wake() {
	close(j.changed)
	j.changed = make(chan struct{})
}

func (r *record) copy() Seen {
	s := r.Seen
	s.Events = int(r.events.Load())
	return s
}

func (j *journal) copy() []Seen {
	all := make([]Seen, len(j.records))
	for i, r := range j.records {
		all[i] = r.copy()
	}
	return all
}

func (j *journal) reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records, j.arrived, j.settled = nil, 0, 0
	for len(j.left) > 0 {
		<-j.left
	}
	j.wake()
}

// wait returns the log as soon as enough holds, or what there is after d.
func (j *journal) wait(d time.Duration, enough func() bool) []Seen {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for {
		j.mu.Lock()
		all, done, changed := j.copy(), enough(), j.changed
		j.mu.Unlock()
		if done {
			return all
		}
		select {
		case <-changed:
		case <-timeout.C:
			return all
		}
	}
}

// Seen is a copy of the log: the requests since the last Reset in order of arrival, also those still being answered. Empty when Quiet.
func (s *Server) Seen() []Seen {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.copy()
}

// Wait returns the log once n requests have arrived since the last Reset, or what there is after d.
func (s *Server) Wait(n int, d time.Duration) []Seen {
	return s.log.wait(d, func() bool { return s.log.arrived >= n })
}

// WaitDone returns the log once n requests have been answered or given up since the last Reset, or what there is after d.
func (s *Server) WaitDone(n int, d time.Duration) []Seen {
	return s.log.wait(d, func() bool { return s.log.settled >= n })
}

// Closed receives each request whose peer hung up before its answer was whole, as soon as that is noticed.
func (s *Server) Closed() <-chan Seen { return s.log.left }

// Reset forgets the log, the counters and the stored responses. Requests in flight go on and no longer count towards Wait.
func (s *Server) Reset() {
	s.log.reset()
	s.counters.reset()
	s.responses.reset()
}
