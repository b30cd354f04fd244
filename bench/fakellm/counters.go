package fakellm

import (
	"encoding/json"
	"strconv"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// counters are kept also when there is no log.
type counters struct {
	requests, streams, events, prompt, completion, left, violations atomic.Int64
}

func (c *counters) bill(u Usage) {
	c.prompt.Add(int64(u.Prompt))
	c.completion.Add(int64(u.Completion))
}

func (c *counters) reset() {
	for _, n := range []*atomic.Int64{&c.requests, &c.streams, &c.events, &c.prompt, &c.completion, &c.left, &c.violations} {
		n.Store(0)
	}
}

// Stats are sums since the last Reset.
type Stats struct {
	Requests         int64 `json:"requests"`
	Streams          int64 `json:"streams"`
	Events           int64 `json:"events"`
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	ClosedByPeer     int64 `json:"closed_by_peer"`
	Violations       int64 `json:"violations"`
}

// Stats are the sums over all requests since the last Reset, also when Quiet. Tokens count when a request ends.
func (s *Server) Stats() Stats {
	c := &s.counters
	return Stats{c.requests.Load(), c.streams.Load(), c.events.Load(), c.prompt.Load(), c.completion.Load(), c.left.Load(), c.violations.Load()}
}

// ownPage answers the pages of the simulation itself, below /_fake/.
func (s *Server) ownPage(ctx *fasthttp.RequestCtx, path, _ string) bool {
	if len(path) < 7 || path[:7] != "/_fake/" {
		return false
	}
	var out any
	switch string(ctx.Method()) + " " + path {
	case "GET /_fake/stats":
		out = s.Stats()
	case "GET /_fake/log":
		out = s.Seen()
	case "POST /_fake/reset":
		s.Reset()
		out = s.Stats()
	default:
		return s.picturePage(ctx, path)
	}
	body, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		panic("BUG: fakellm: own page: " + err.Error())
	}
	ctx.Response.Header.SetContentType(jsonType)
	ctx.Response.SetBodyRaw(append(body, '\n'))
	return true
}

func appendInt(dst []byte, n int) []byte { return strconv.AppendInt(dst, int64(n), 10) }
