package usage

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"

	"jarvis-gateway/proxy/wire"
)

// UID names a record for ever, whatever ids clients give their requests. It begins with the time, so that records that were
// made one after the other lie beside each other (RFC 9562, version 7).
type UID [16]byte

// NewUID makes one.
func NewUID(now time.Time) (u UID) {
	binary.BigEndian.PutUint64(u[:], uint64(now.UnixMilli())<<16|rand.Uint64()&0xfff|0x7000) //nolint:gosec // after 1970
	binary.BigEndian.PutUint64(u[8:], rand.Uint64()&^(3<<62)|2<<62)
	return u
}

// String writes the usual form, with hyphens.
func (u UID) String() string {
	var s [36]byte
	hex.Encode(s[:], u[:4])
	hex.Encode(s[9:], u[4:6])
	hex.Encode(s[14:], u[6:8])
	hex.Encode(s[19:], u[8:10])
	hex.Encode(s[24:], u[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// Record is one request, as it ended. The zero value of a field says that there was none: no team, no cache, no template.
type Record struct {
	UID  UID
	Time time.Time // when it came, UTC, to the microsecond
	ID   string    // X-Request-Id, which a client may choose and repeat

	Tenant, Team, Key, User string
	Scene                   string
	Tags                    []string

	Endpoint string
	Stream   bool
	Asked    string // the model that the client asked for
	Model    string // the entry of `models` that served
	Provider string
	Served   string // what the provider calls the model
	Replica  string // of a pool
	Region   string // of a cloud
	Route    string // why it was served there
	Rollout  string // the entry of `models` whose rollout the request was part of
	Arm      string // the entry that it was given to

	Cache      string // exact, semantic, miss
	Similarity float64
	Prompt     string // the template, name@version
	Corpus     string // what was retrieved from, name@version
	Flow       string // name@version

	Usage Usage
	Cost  wire.Money // of all attempts
	Saved wire.Money // what the answer would have cost that a cache gave
	Price string     // the version of the prices

	Queued   time.Duration // in line for limits and places
	First    time.Duration // from the arrival until the answer began; 0: it never did
	Upstream time.Duration // of First, what providers took
	Overhead time.Duration // of First, what the gateway took
	Total    time.Duration // until the last byte

	Status      int    // of HTTP; 499: the client left
	Outcome     string // ok, or how it failed: see the README's table of errors
	Code        string // of the error
	Finish      string // why the answer ended: stop, length, tool_calls...
	Gone        bool   // the client left before the end
	Interrupted bool   // the gateway's process ended first; usage and cost are guesses

	In, Out  int64 // bytes
	Attempts []Attempt
	Content  Content
}

// Usage is what was used. It is wire's, so that what is recorded is what was paid.
type Usage = wire.Usage

// Attempt is one call to a provider.
type Attempt struct {
	Kind     string // first, retry, failover, fallback, hedge, continue, shadow, background
	Entry    string // the entry of `models` that it was made for
	Provider string
	Model    string // what the provider calls it
	Replica  string
	Region   string
	Result   string        // ok, an error's code, aborted, lost
	Begun    time.Duration // after the request's arrival
	First    time.Duration // from Begun until the first content, or the failure
	Usage    Usage
	Cost     wire.Money
}

// Content is what was said, masked, of tenants that ask for it to be kept.
type Content struct{ Asked, Answered string }

// Feedback is what somebody thinks of an answer. The latest one of a request counts.
type Feedback struct {
	UID      UID
	Time     time.Time
	Request  string // Record.ID
	Of       UID    // Record.UID; zero: not known
	Tenant   string
	Key      string
	User     string
	Score    float64
	Comment  string
	Metadata string // what else was said, a JSON object; "": nothing

	Model, Prompt, Rollout, Arm string // as in the request's record
}
