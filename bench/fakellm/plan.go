package fakellm

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Plan says how one request is answered. The zero value is a good answer.
type Plan struct {
	Status int               // 400 and above: the provider's own error of that status
	Header map[string]string // added to the answer, replacing a field of the same name
	Body   []byte            // sent as it is instead of a generated answer; bills what it says it cost

	SSE         []byte   // a recorded stream, sent event by event; bills what it says it cost
	Chunks      [][]byte // a stream, each element an HTTP chunk of its own
	ByteAtATime bool     // any answer in HTTP chunks of one byte

	Text      string // the answer's text instead of generated words
	Tokens    int    // length of a generated answer, 16 when 0; in an answer cut by max_tokens the smaller of the two counts
	Size      int    // bytes of the generated text, 0: as it comes; at least Tokens
	Tools     []Call // the answer calls these tools, after Text when there is one
	Thinking  string // a thought in front of the answer: signed by Anthropic and Bedrock, reasoning_content of vLLM; OpenAI and Azure hide it
	Reasoning int    // reasoning tokens, part of the completion; visible as text only where the provider shows them (not OpenAI, Azure)
	Cached    int    // prompt tokens to report as read from a cache
	Written   int    // prompt tokens to report as written to a cache; Anthropic and Bedrock only

	Delay           time.Duration // before the headers
	FirstTokenDelay time.Duration // streams: after the headers, before the first event
	EventDelay      time.Duration // streams: between events
	StallAfter      int           // streams: fall silent after that many content events; below 0: just before the first one
	StallFor        time.Duration // how long stalls last, 0: until the peer leaves

	Fault      Fault
	FaultAs    int           // status whose error InStreamErrorFirst and InStreamErrorMid tell of, 500 when 0
	RetryAfter time.Duration // sent as retry-after (whole seconds, rounded up) and retry-after-ms
}

// Call is a tool call to make.
type Call struct {
	ID    string // generated when empty
	Name  string
	Input string // its arguments as JSON, which is not checked; empty: an example of the tool's schema
}

// Fault is a way to fail. Faults in the middle of a stream strike after StallAfter content events, or after half of them.
// On an answer that is no stream, faults of streams strike in the middle of the body, or become a status 500 where they are an
// error event.
type Fault string

// The faults.
const (
	None                  Fault = ""
	ResetBeforeHeaders    Fault = "reset"           // TCP reset instead of an answer
	CloseBeforeHeaders    Fault = "close"           // clean end of the connection instead of an answer
	StallBeforeHeaders    Fault = "stall"           // silence instead of an answer
	StallBeforeFirstToken Fault = "stall-first"     // headers, then silence
	StallMidStream        Fault = "stall-mid"       // half of it, then silence
	CutMidStream          Fault = "cut"             // half of it, then the connection ends without the last HTTP chunk; Anthropic and Bedrock within an event
	ResetMidStream        Fault = "reset-mid"       // half of it, then a TCP reset
	Garbage               Fault = "garbage"         // bytes that are not HTTP
	GarbageEvents         Fault = "garbage-events"  // 200 and events whose data is not JSON
	InStreamErrorFirst    Fault = "error-first"     // 200 and a stream that begins with an error event
	InStreamErrorMid      Fault = "error-mid"       // an error event half way
	NoDone                Fault = "no-done"         // a whole stream without its terminal event
	Status429             Fault = "429"             // the provider's 429, with RetryAfter
	KeepAliveClose        Fault = "keepalive-close" // a good answer, then the idle connection is closed unannounced
	TruncatedBody         Fault = "truncated"       // Content-Length promises more than comes
	BadCRC                Fault = "bad-crc"         // Bedrock's streams: half way a frame whose message CRC is wrong
	BadPrelude            Fault = "bad-prelude"     // Bedrock's streams: half way a frame whose prelude CRC is wrong
)

func faults() []Fault {
	return []Fault{ResetBeforeHeaders, CloseBeforeHeaders, StallBeforeHeaders, StallBeforeFirstToken, StallMidStream, CutMidStream,
		ResetMidStream, Garbage, GarbageEvents, InStreamErrorFirst, InStreamErrorMid, NoDone, Status429, KeepAliveClose, TruncatedBody,
		BadCRC, BadPrelude}
}

// raw reports whether the answer is a recorded stream.
func (p *Plan) raw() bool { return p.SSE != nil || p.Chunks != nil }

// slow reports whether the peer may leave while this side is silent.
func (p *Plan) slow() bool {
	if p.Delay > 0 || p.FirstTokenDelay > 0 || p.EventDelay > 0 || p.StallAfter != 0 {
		return true
	}
	return p.Fault == StallBeforeHeaders || p.Fault == StallBeforeFirstToken || p.Fault == StallMidStream
}

// keys of a plan in a model name, in the order of the message that lists them.
func planKeys() []string {
	return []string{"status", "retry_after", "tokens", "size", "text", "thinking", "reasoning", "cached", "written", "delay", "first_token_delay", "event_delay",
		"stall_after", "stall_for", "fault", "fault_as", "byte_at_a_time"}
}

// planned changes p by what a model name like "fake?status=429&retry_after=2" asks for, and returns the name alone.
func planned(model string, p *Plan) (string, error) {
	name, query, _ := strings.Cut(model, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return name, fmt.Errorf("model %q: %w", model, err)
	}
	for key, all := range values {
		if !slices.Contains(planKeys(), key) {
			return name, fmt.Errorf("model %q: unknown key %q (have: %s)", model, key, strings.Join(planKeys(), ", "))
		}
		if err := p.set(key, all[len(all)-1]); err != nil {
			return name, fmt.Errorf("model %q: %s: %w", model, key, err)
		}
	}
	return name, nil
}

func (p *Plan) set(key, value string) (err error) {
	switch key {
	case "status":
		p.Status, err = strconv.Atoi(value)
	case "tokens":
		p.Tokens, err = strconv.Atoi(value)
	case "size":
		p.Size, err = strconv.Atoi(value)
	case "text":
		p.Text = value
	case "thinking":
		p.Thinking = value
	case "reasoning":
		p.Reasoning, err = strconv.Atoi(value)
	case "cached":
		p.Cached, err = strconv.Atoi(value)
	case "written":
		p.Written, err = strconv.Atoi(value)
	case "fault_as":
		p.FaultAs, err = strconv.Atoi(value)
	case "stall_after":
		p.StallAfter, err = strconv.Atoi(value)
	case "byte_at_a_time":
		p.ByteAtATime, err = strconv.ParseBool(value)
	case "fault":
		p.Fault, err = faultOf(value)
	default:
		err = p.setDuration(key, value)
	}
	return err
}

func (p *Plan) setDuration(key, value string) error {
	d, err := time.ParseDuration(value)
	if seconds, e := strconv.ParseFloat(value, 64); e == nil {
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil {
		return err
	}
	*map[string]*time.Duration{
		"retry_after": &p.RetryAfter, "delay": &p.Delay, "first_token_delay": &p.FirstTokenDelay,
		"event_delay": &p.EventDelay, "stall_for": &p.StallFor,
	}[key] = d
	return nil
}

func faultOf(name string) (Fault, error) {
	if all := faults(); !slices.Contains(all, Fault(name)) {
		return None, fmt.Errorf("unknown fault %q (have: %v)", name, all)
	}
	return Fault(name), nil
}
